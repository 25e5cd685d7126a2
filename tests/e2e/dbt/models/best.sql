{{ config(materialized='view') }}
select c.customer, c.amount, r.region
from {{ ref('customers') }} c
left join {{ ref('regions') }} r on r.customer = c.customer
where c.amount > 10
