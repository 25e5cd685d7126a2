{{ config(materialized='incremental', unique_key='customer') }}
select customer, sum(amount) as amount, '{{ var("mark", "first") }}' as mark
from {{ ref('orders') }}
{% if is_incremental() %}
where customer = 'Kim'
{% endif %}
group by customer
