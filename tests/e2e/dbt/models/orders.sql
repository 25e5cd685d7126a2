select 1 as order_id, 'Kim' as customer, cast(12.5 as numeric(10, 2)) as amount
union all select 2, 'Lee', 7.25
union all select 3, 'Kim', 30
