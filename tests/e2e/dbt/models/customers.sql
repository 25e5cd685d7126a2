select customer, count(*) as n_orders, sum(amount) as amount, '{{ var("mark", "first") }}' as mark
from {{ ref('orders') }}
group by customer
