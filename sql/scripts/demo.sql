-- 1. Three systems, attached by name: Parquet files in a bucket, a Hive-layout directory, a database.
CREATE SCHEMA IF NOT EXISTS demo;

CREATE OR REPLACE EXTERNAL TABLE demo.parquet_sample STORED AS PARQUET LOCATION '${bucket}';

CREATE OR REPLACE CATALOG user_dhp_hive USING file WITH (path = '${dhp}');

CREATE OR REPLACE CATALOG crm USING sqlite WITH (path = '${crm}');

SHOW CATALOGS;

-- 2. One query over two of them. Nothing is copied first.
SELECT a.ts, a.url, a.status, b.customer_id, b.device
FROM demo.parquet_sample a, user_dhp_hive.demo.log b
WHERE a.url = b.url
LIMIT 10;

-- 3. And over all three: which cities look at the pages that fail most?
WITH pages AS (
  SELECT url, count(*) AS requests, count(*) FILTER (WHERE status >= 500) AS failed
  FROM demo.parquet_sample
  GROUP BY url
)
SELECT c.city, count(*) AS views, count(DISTINCT b.customer_id) AS customers,
       round(100.0 * sum(p.failed) / sum(p.requests), 2) AS failed_percent
FROM user_dhp_hive.demo.log b
JOIN pages p ON p.url = b.url
JOIN crm.main.customers c ON c.id = b.customer_id
GROUP BY c.city
ORDER BY views DESC
LIMIT 8;

-- 4. What each source is asked for: columns, filters and partitions go to the source.
EXPLAIN SELECT count(*) FROM user_dhp_hive.demo.call WHERE dt = '2026-11-10' AND duration_s > 600;

-- 5. The batch job. First, how dirty is the source?
SELECT count(*) AS calls,
       count(*) FILTER (WHERE customer_id IS NULL OR trim(customer_id) = '') AS no_customer,
       count(*) FILTER (WHERE customer_id <> trim(customer_id)) AS stray_blanks,
       count(*) FILTER (WHERE duration_s IS NULL) AS no_duration,
       count(*) FILTER (WHERE duration_s <= 0) AS impossible,
       max(duration_s) AS longest_s
FROM user_dhp_hive.demo.call;

-- 6. Cleanse: trim, fold case, turn placeholders into NULL, drop what cannot be a call.
CREATE SCHEMA IF NOT EXISTS mart;

CREATE OR REPLACE VIEW mart.calls_typed AS
SELECT call_id,
       CASE WHEN trim(customer_id) ~ '^[0-9]+$' THEN CAST(trim(customer_id) AS bigint) END AS customer_id,
       started_at,
       duration_s,
       upper(trim(cell)) AS cell,
       nullif(lower(trim(result)), 'n/a') AS result,
       dt
FROM user_dhp_hive.demo.call
WHERE duration_s > 0 AND started_at IS NOT NULL AND cell IS NOT NULL;

-- Outliers are cut at Tukey's fence, three quartile distances above the third quartile.
CREATE OR REPLACE VIEW mart.calls_clean AS
WITH fence AS (
  SELECT q3 + 3 * (q3 - q1) AS longest
  FROM (SELECT approx_percentile_cont(0.25) WITHIN GROUP (ORDER BY duration_s) AS q1,
               approx_percentile_cont(0.75) WITHIN GROUP (ORDER BY duration_s) AS q3
        FROM mart.calls_typed)
)
SELECT t.*
FROM mart.calls_typed t CROSS JOIN fence f
WHERE t.customer_id IS NOT NULL AND t.duration_s <= f.longest;

-- 7. Join with the customers and aggregate once: a row for each city, cell and day.
CREATE OR REPLACE VIEW mart.daily AS
SELECT c.city, s.cell, s.dt,
       count(*) AS calls,
       count(DISTINCT s.customer_id) AS callers,
       sum(CAST(s.duration_s AS bigint)) AS seconds,
       count(*) FILTER (WHERE s.result = 'dropped') AS dropped
FROM mart.calls_clean s
JOIN crm.main.customers c ON c.id = s.customer_id
GROUP BY c.city, s.cell, s.dt;

SELECT city, sum(calls) AS calls, round(sum(seconds) / sum(calls), 1) AS avg_call_s, sum(dropped) AS dropped
FROM mart.daily
GROUP BY city
ORDER BY calls DESC
LIMIT 8;

-- 8. Prepare again and aggregate a second time: how far is each cell's day from the cell's own average?
WITH rates AS (
  SELECT cell, dt, sum(calls) AS calls, 100.0 * sum(dropped) / sum(calls) AS dropped_percent
  FROM mart.daily
  GROUP BY cell, dt
), scored AS (
  SELECT cell, dt, calls, dropped_percent,
         (dropped_percent - avg(dropped_percent) OVER (PARTITION BY cell))
           / nullif(stddev(dropped_percent) OVER (PARTITION BY cell), 0) AS score
  FROM rates
)
SELECT cell, dt, calls, round(dropped_percent, 1) AS dropped_percent, round(score, 2) AS score
FROM scored
WHERE score > 2
ORDER BY score DESC
LIMIT 5;

-- 9. The engine knows what it did.
SELECT query_id, state, elapsed_ms, n_rows, source_rows, memory_peak_bytes, left(sql, 40) AS sql
FROM system.queries
ORDER BY query_id DESC
LIMIT 5;
