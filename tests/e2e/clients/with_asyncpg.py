"""asyncpg, as a program uses it: prepared statements, settings, cursors, a pool. `with_asyncpg.py HOST PORT PASSWORD`"""

import asyncio
import sys

import asyncpg

host, port, password = sys.argv[1:]
login = {"host": host, "port": int(port), "user": "maru", "password": password, "database": "maru"}


async def queries(connection):
    assert await connection.fetchval("SELECT $1::int + 1", 41) == 42
    assert await connection.fetchrow("SELECT id, name FROM e2e_clients.staff WHERE id = $1", 2) == (2, "Lee")
    assert await connection.fetchval("SELECT count(*) FROM generate_series(1, $1)", 10) == 10


async def arrays(connection):
    assert await connection.fetchval("SELECT id FROM e2e_clients.staff WHERE name = ANY($1)", ["Lee", "nobody"]) == 2
    assert [row["id"] for row in await connection.fetch("SELECT id FROM e2e_clients.staff WHERE id = ANY($1::int[]) ORDER BY id", [1, 3])] == [1, 3]
    assert await connection.fetchval("SELECT $1::text[]", ["a,b", None, 'c "d"']) == ["a,b", None, 'c "d"']
    assert await connection.fetchval("SELECT array_agg(id ORDER BY id) FROM e2e_clients.staff") == [1, 2, 3]
    assert await connection.fetchval("SELECT '{1,NULL}'::bigint[]") == [1, None]
    row = await connection.fetchrow("SELECT ARRAY[1.5::float8], ARRAY[true], ARRAY[DATE '2026-11-26'], ARRAY[0.25], ARRAY[2::smallint]")
    assert [len(value) for value in row.values()] == [1] * 5


async def settings(connection):
    assert await connection.fetchval("SELECT set_config('timezone', 'Asia/Seoul', false)") == "Asia/Seoul"
    assert await connection.fetchval("SELECT current_setting('timezone')") == "Asia/Seoul"
    assert await connection.fetchval("SHOW timezone") == "Asia/Seoul"


async def cursors(connection):
    async with connection.transaction():
        seen = [row["n"] async for row in connection.cursor("SELECT n FROM generate_series(1, 500) t(n)", prefetch=70)]
        assert seen == list(range(1, 501))
        cursor = await connection.cursor("SELECT n FROM generate_series(1, 100) t(n)")
        assert [row["n"] for row in await cursor.fetch(3)] == [1, 2, 3]
        assert (await cursor.fetchrow())["n"] == 4
        assert await cursor.forward(10) == 10
        assert (await cursor.fetchrow())["n"] == 15
        assert await cursor.forward(1000) == 85
        assert await cursor.fetchrow() is None
        cursor = await connection.cursor("SELECT n FROM generate_series(1, 100) t(n)")
        assert await cursor.forward(99) == 99
        assert [row["n"] for row in await cursor.fetch(5)] == [100]


async def savepoints(connection):
    async with connection.transaction():
        try:
            async with connection.transaction():
                await connection.fetchval("SELECT 1 / 0")
        except asyncpg.DivisionByZeroError:
            pass
        assert await connection.fetchval("SELECT 1") == 1


async def copies(connection):
    await connection.execute("CREATE TABLE asyncpg_copied (id bigint, name text)")
    try:
        rows = [(i, f"row {i}") for i in range(5000)]
        assert await connection.copy_records_to_table("asyncpg_copied", records=rows) == "COPY 5000"
        assert await connection.fetchrow("SELECT count(*), max(name) FROM asyncpg_copied") == (5000, "row 999")
    finally:
        await connection.execute("DROP TABLE asyncpg_copied")


async def pools(_):
    async with asyncpg.create_pool(**login, min_size=2, max_size=5) as pool:
        numbers = await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(30)))
        assert numbers == list(range(30))


async def main():
    for check in [queries, arrays, settings, cursors, savepoints, copies, pools]:
        connection = await asyncpg.connect(**login)
        await check(connection)
        await connection.close()
        print("ok", check.__name__, flush=True)


asyncio.run(main())
