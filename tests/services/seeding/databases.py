"""`customers` and `types` in PostgreSQL and MariaDB."""

import os
import urllib.parse

import psycopg
import pymysql

from . import data

PG_CUSTOMERS = """
create table customers (
    id bigint primary key, name text not null, grade varchar(10) not null, city text, joined date not null,
    balance numeric(12,2), memo text, updated timestamptz not null)
"""

# Columns of one row each for an ordinary value, NULLs, the smallest and the largest value.
PG_TYPES = """
create table types (
    id int primary key, a_bool boolean, a_int2 smallint, a_int4 integer, a_int8 bigint, a_float4 real,
    a_float8 double precision, a_numeric numeric(20,4), a_wide_numeric numeric(38,10), a_free_numeric numeric,
    a_text text, a_varchar varchar(20), a_char char(5), a_bytea bytea, a_date date, a_time time, a_timestamp timestamp,
    a_timestamptz timestamptz, a_uuid uuid, a_json json, a_jsonb jsonb, an_int_array integer[], a_text_array text[],
    an_interval interval, an_inet inet);
insert into types values
    (1, true, 1, 2, 3, 1.5, 2.5, 12345.6789, 1234567890.0123456789, 0.1, '한글 text', 'varchar', 'ab', '\\x00ff10', '2026-11-23',
     '07:08:09.123456', '2026-11-23 07:08:09.123456', '2026-11-23 07:08:09.123456+09', '00000000-0000-4000-8000-000000000001',
     '{"a": 1}', '{"b": [1, 2]}', '{1,NULL,3}', '{"x","y z"}', '1 mon 2 days 03:04:05', '10.0.0.1'),
    (2, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
     null, null, null),
    (3, false, -32768, -2147483648, -9223372036854775808, -3.4028235e38, -1.7976931348623157e308, -9999999999999999.9999,
     -9999999999999999999999999999.9999999999, -1e-20, '', '', '', '', '0001-01-01', '00:00:00', '0001-01-01 00:00:00',
     '1900-01-01 00:00:00+00', '00000000-0000-0000-0000-000000000000', 'null', '{}', '{}', '{}', '-1 days', '0.0.0.0'),
    (4, true, 32767, 2147483647, 9223372036854775807, 3.4028235e38, 1.7976931348623157e308, 9999999999999999.9999,
     9999999999999999999999999999.9999999999, 12345678901234567890.5, repeat('가', 1000), repeat('v', 20), 'abcde', '\\xffffffff',
     '9999-12-31', '23:59:59.999999', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999+00',
     'ffffffff-ffff-ffff-ffff-ffffffffffff', '[]', '[null]', '{2147483647}', '{""}', '10 years', '255.255.255.255');
"""

MYSQL_CUSTOMERS = """
create table customers (
    id bigint primary key, name varchar(100) not null, grade varchar(10) not null, city varchar(100), joined date not null,
    balance decimal(12,2), memo text, updated datetime(6) not null) character set utf8mb4
"""

MYSQL_TYPES = [
    """
create table types (
    id int primary key, a_bool tinyint(1), a_int1 tinyint, a_int2 smallint, a_int4 int, a_int8 bigint, a_uint4 int unsigned,
    a_uint8 bigint unsigned, a_float4 float, a_float8 double, a_decimal decimal(20,4), a_wide_decimal decimal(38,10),
    a_text text, a_varchar varchar(20), a_char char(5), a_blob blob, a_varbinary varbinary(16), a_date date, a_time time(6),
    a_datetime datetime(6), a_timestamp timestamp(6) null, a_year year, a_json json, an_enum enum('red','green'),
    a_set set('a','b'), a_bit bit(8)) character set utf8mb4
""",
    """
insert into types values
    (1, 1, 1, 2, 3, 4, 5, 6, 1.5, 2.5, 12345.6789, 1234567890.0123456789, '한글 text', 'varchar', 'ab', x'00ff10', x'01', '2026-11-23',
     '07:08:09.123456', '2026-11-23 07:08:09.123456', '2026-11-23 07:08:09.123456', 2026, '{"a": 1}', 'red', 'a,b', b'00000101'),
    (2, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
     null, null, null, null),
    (3, 0, -128, -32768, -2147483648, -9223372036854775808, 0, 0, -3.4e38, -1.7976931348623157e308, -9999999999999999.9999,
     -9999999999999999999999999999.9999999999, '', '', '', '', '', '1000-01-01', '00:00:00', '1000-01-01 00:00:00',
     '1970-01-01 00:00:01', 1901, 'null', 'red', '', b'0'),
    (4, 1, 127, 32767, 2147483647, 9223372036854775807, 4294967295, 18446744073709551615, 3.4e38, 1.7976931348623157e308,
     9999999999999999.9999, 9999999999999999999999999999.9999999999, repeat('가', 1000), repeat('v', 20), 'abcde', x'ffffffff',
     repeat('b', 16), '9999-12-31', '23:59:59.999999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999', 2155, '[]',
     'green', 'b', b'11111111')
""",
]


def seed_postgres(version, again):
    with psycopg.connect(os.environ["MARU_TEST_PG"]) as connection:
        connection.execute("set client_min_messages = warning")
        connection.execute("create table if not exists seed_version (version text)")
        done = connection.execute("select version from seed_version").fetchall() == [(version,)]
        if done and not again:
            return False
        connection.execute("drop view if exists gold_customers; drop table if exists customers, types; delete from seed_version")
        connection.execute(PG_CUSTOMERS)
        with connection.cursor().copy("copy customers from stdin") as copy:
            for row in data.customers():
                copy.write_row(row)
        connection.execute(PG_TYPES)
        connection.execute("create view gold_customers as select id, name, city from customers where grade = 'GOLD'")
        connection.execute("insert into seed_version values (%s)", (version,))
    with psycopg.connect(os.environ["MARU_TEST_PG"], autocommit=True) as connection:
        connection.execute("analyze customers")
    return True


def seed_mariadb(version, again):
    url = urllib.parse.urlsplit(os.environ["MARU_TEST_MYSQL"])
    connection = pymysql.connect(host=url.hostname, port=url.port, user=url.username, password=url.password,
                                 database=url.path[1:], charset="utf8mb4", autocommit=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("set time_zone = '+00:00'")
        cursor.execute("create table if not exists seed_version (version varchar(32)) engine = innodb")
        cursor.execute("select version from seed_version")
        if cursor.fetchall() == ((version,),) and not again:
            return False
        # No transaction spans these statements here: the mark goes first and comes last.
        cursor.execute("delete from seed_version")
        cursor.execute("drop table if exists customers, types")
        cursor.execute(MYSQL_CUSTOMERS)
        cursor.executemany("insert into customers values (%s,%s,%s,%s,%s,%s,%s,%s)",
                           [(*row[:7], row[7].replace(tzinfo=None)) for row in data.customers()])
        for statement in MYSQL_TYPES:
            cursor.execute(statement)
        cursor.execute("insert into seed_version values (%s)", (version,))
    return True
