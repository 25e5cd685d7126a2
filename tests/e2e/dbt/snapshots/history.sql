{% snapshot history %}
{{ config(unique_key='customer', strategy='check', check_cols=['mark']) }}
select customer, mark from {{ ref('totals') }}
{% endsnapshot %}
