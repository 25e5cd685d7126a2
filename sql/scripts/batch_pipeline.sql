-- The night's batch: what people did on the web and on the telephone, by region and grade, from three stores into three stores.
--
-- `${weblogs}` is a folder of lines of a web server on S3, `${calls}` a table of call records in Hive, `${customers}` a table of
-- PostgreSQL. The result goes to `${lake}` (a schema on S3, Delta Lake), `${warehouse}` (a database of Hive on HDFS) and `${mart}`
-- (a database of MariaDB). Steps keep what lies between in the schema `batch`.

CREATE SCHEMA IF NOT EXISTS batch;

CREATE EXTERNAL TABLE IF NOT EXISTS batch.lines (line text)
  STORED AS CSV WITH (header = false, delimiter = '\x01', quote = '') LOCATION '${weblogs}';

CREATE TABLE IF NOT EXISTS ${warehouse}.usage_by_region (
  region text, grade text, customers bigint, views bigint, sessions bigint, bytes double precision, calls bigint,
  seconds double precision, fee numeric(18,2), outliers bigint, share_of_fee double precision, day date)
  PARTITIONED BY (day);

CREATE TABLE IF NOT EXISTS ${mart}.usage_by_region (
  day date, region varchar(20), grade varchar(20), customers bigint, views bigint, sessions bigint, bytes double precision, calls bigint,
  seconds double precision, fee numeric(18,2), outliers bigint, share_of_fee double precision);

CREATE OR REPLACE PIPELINE batch.usage WITH (parallel = 2) AS $$

  -- 1. Cleanse: lines become columns, robots and errors go, visits become sessions.
  STEP web AS
    CREATE OR REPLACE TABLE batch.web AS
    SELECT customer_id, day, path, bytes,
           session_number(at, INTERVAL '30 minutes') OVER (PARTITION BY customer_id ORDER BY at) AS session
    FROM (SELECT TRY_CAST(url_query_param(l['url'], 'customer') AS bigint) AS customer_id, l['time'] AS at,
                 CAST(l['time'] AT TIME ZONE 'UTC' AS date) AS day, (url_parse(l['url']))['path'] AS path, l['bytes'] AS bytes,
                 l['status'] AS status, (user_agent(l['user_agent']))['is_bot'] AS is_bot
          FROM (SELECT parse_access_log(line, 'combined') AS l FROM batch.lines) AS parsed) AS visits
    WHERE status < 400 AND NOT is_bot AND customer_id IS NOT NULL;

  STEP calls AS
    CREATE OR REPLACE TABLE batch.calls AS
    SELECT call_id, (parse_phone(caller))['number'] AS phone, CAST(started AS date) AS day, parse_number(seconds) AS seconds,
           CAST(parse_decimal(fee) AS numeric(12,2)) AS fee
    FROM ${calls}
    QUALIFY row_number() OVER (PARTITION BY call_id ORDER BY loaded DESC) = 1;

  STEP customers AS
    CREATE OR REPLACE TABLE batch.customers AS
    SELECT id, mask_name(clean_text(name)) AS name, (parse_phone(phone))['number'] AS phone, region, fill_missing(grade, 'mode') OVER () AS grade
    FROM ${customers};

  STEP lines_are_whole
    EXPECT 'at most one line in fifty is of another form'
      (SELECT count(*) FILTER (WHERE parse_access_log(line, 'combined') IS NULL) * 50 <= count(*) FROM batch.lines) ON VIOLATION FAIL;

  STEP calls_arrived
    EXPECT 'calls arrived' (SELECT count(*) > 0 FROM batch.calls) ON VIOLATION FAIL;

  -- 2. Join with the customers, and sum up once: a customer's day.
  STEP daily AS
    CREATE OR REPLACE TABLE batch.daily AS
    WITH seen AS (SELECT customer_id, day, count(*) AS views, count(DISTINCT session) AS sessions, sum(bytes) AS bytes
                  FROM batch.web GROUP BY customer_id, day),
         heard AS (SELECT c.id AS customer_id, k.day, count(*) AS calls, sum(k.seconds) AS seconds, sum(k.fee) AS fee
                   FROM batch.calls AS k JOIN batch.customers AS c ON c.phone = k.phone GROUP BY c.id, k.day)
    SELECT c.id AS customer_id, c.region, c.grade, coalesce(s.day, h.day) AS day, coalesce(s.views, 0) AS views,
           coalesce(s.sessions, 0) AS sessions, CAST(s.bytes AS double precision) AS bytes, coalesce(h.calls, 0) AS calls,
           h.seconds, coalesce(h.fee, 0) AS fee
    FROM seen AS s FULL JOIN heard AS h ON h.customer_id = s.customer_id AND h.day = s.day
         JOIN batch.customers AS c ON c.id = coalesce(s.customer_id, h.customer_id);

  -- 3. Pre-process: what is missing, what is far out.
  STEP features AS
    CREATE OR REPLACE TABLE batch.features AS
    SELECT customer_id, region, grade, day, views, sessions, calls, fee, fill_missing(bytes, 0) OVER () AS bytes,
           winsorize(seconds, 0.0, 0.01) OVER (PARTITION BY grade) AS seconds, off
    FROM (SELECT customer_id, region, grade, day, views, sessions, calls, fee, bytes, fill_missing(seconds, 'median') OVER (PARTITION BY grade) AS seconds,
                 outlier_score(seconds, 'mad') OVER (PARTITION BY grade) AS off
          FROM batch.daily) AS filled;

  -- 4. Sum up again, and join what comes after: the share of each grade in its region's fees.
  STEP result AS
    CREATE OR REPLACE TABLE batch.result AS
    WITH sums AS (SELECT day, region, grade, count(DISTINCT customer_id) AS customers, sum(views) AS views, sum(sessions) AS sessions,
                         sum(bytes) AS bytes, sum(calls) AS calls, sum(seconds) AS seconds, sum(fee) AS fee,
                         count(*) FILTER (WHERE off > 3.5) AS outliers
                  FROM batch.features GROUP BY day, region, grade),
         regions AS (SELECT day, region, sum(fee) AS fee FROM batch.features GROUP BY day, region)
    SELECT s.day, s.region, s.grade, s.customers, CAST(s.views AS bigint) AS views, CAST(s.sessions AS bigint) AS sessions, s.bytes,
           CAST(s.calls AS bigint) AS calls, s.seconds, CAST(s.fee AS numeric(18,2)) AS fee, s.outliers,
           CASE WHEN r.fee > 0 THEN CAST(s.fee AS double precision) / CAST(r.fee AS double precision) END AS share_of_fee
    FROM sums AS s JOIN regions AS r ON r.day = s.day AND r.region = s.region;

  STEP shares_add_up
    EXPECT 'shares add up' (SELECT max(abs(total - 1)) < 1e-9 FROM (SELECT sum(share_of_fee) AS total FROM batch.result GROUP BY day, region) AS t)
    ON VIOLATION FAIL;

  -- 5. Load: each target as one commit, each again without harm.
  STEP to_lake AFTER shares_add_up AS
    CREATE OR REPLACE TABLE ${lake}.usage_by_region AS SELECT * FROM batch.result;

  STEP to_hive AFTER shares_add_up AS
    INSERT OVERWRITE ${warehouse}.usage_by_region PARTITION (day)
    SELECT region, grade, customers, views, sessions, bytes, calls, seconds, fee, outliers, share_of_fee, day FROM batch.result;

  STEP to_mart AFTER shares_add_up AS
    INSERT OVERWRITE ${mart}.usage_by_region
    SELECT day, region, grade, customers, views, sessions, bytes, calls, seconds, fee, outliers, share_of_fee FROM batch.result;
$$;

RUN PIPELINE batch.usage;

SELECT step, state, n_rows, error FROM system.run_steps
WHERE run_id = (SELECT max(run_id) FROM system.runs WHERE pipeline = 'usage') ORDER BY step;
