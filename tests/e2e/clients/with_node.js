// node-postgres, as a program uses it: queries, parameters, a pool, a cursor. `with_node.js HOST PORT PASSWORD`

const assert = require("node:assert");
const { Client, Pool } = require("pg");
const Cursor = require("pg-cursor");

const [host, port, password] = process.argv.slice(2);
const login = { host, port: Number(port), user: "maru", password, database: "maru" };

const checks = {
  async queries(client) {
    const { rows, rowCount, fields } = await client.query("SELECT id, name, salary FROM e2e_clients.staff ORDER BY id");
    assert.strictEqual(rowCount, 3);
    assert.deepStrictEqual(rows[0], { id: 1, name: "Kim", salary: "10.50" });
    assert.deepStrictEqual(fields.map((field) => field.dataTypeID), [23, 25, 1700]);
  },
  async parameters(client) {
    assert.strictEqual((await client.query("SELECT $1::int + 1::int AS n", [41])).rows[0].n, 42);
    assert.strictEqual((await client.query("SELECT $1::text AS t", [null])).rows[0].t, null);
    const named = { name: "by-id", text: "SELECT name FROM e2e_clients.staff WHERE id = $1" };
    for (const [id, name] of [[1, "Kim"], [2, "Lee"]]) {
      assert.strictEqual((await client.query({ ...named, values: [id] })).rows[0].name, name);
    }
    const any = await client.query("SELECT name FROM e2e_clients.staff WHERE id = ANY($1::int[]) ORDER BY id", [[1, 3]]);
    assert.deepStrictEqual(any.rows.map((row) => row.name), ["Kim", "Park"]);
  },
  async types(client) {
    const { rows } = await client.query("SELECT true AS b, DATE '2026-01-31' AS d, TIMESTAMPTZ '2026-01-31 12:00:00+00' AS t, ARRAY[1::int, 2::int] AS a, 1.5::float8 AS f");
    assert.strictEqual(rows[0].b, true);
    assert.strictEqual(rows[0].t.toISOString(), "2026-01-31T12:00:00.000Z");
    assert.deepStrictEqual(rows[0].a, [1, 2]);
    assert.strictEqual(rows[0].f, 1.5);
  },
  async errors(client) {
    await assert.rejects(client.query("SELECT * FROM nothing"), { code: "42P01" });
    assert.strictEqual((await client.query("SELECT 1::int AS n")).rows[0].n, 1);
  },
  async transactions(client) {
    await client.query("BEGIN");
    await assert.rejects(client.query("SELECT 1 / 0"), { code: "22012" });
    await assert.rejects(client.query("SELECT 1"), { code: "25P02" });
    await client.query("ROLLBACK");
  },
  async cursors(client) {
    const cursor = client.query(new Cursor("SELECT n FROM generate_series(1, 1000) t(n)"));
    let seen = 0;
    for (let rows = await cursor.read(100); rows.length; rows = await cursor.read(100)) seen += rows.length;
    assert.strictEqual(seen, 1000);
    await cursor.close();
  },
  async pools() {
    const pool = new Pool({ ...login, max: 4 });
    const found = await Promise.all([...Array(20).keys()].map((n) => pool.query("SELECT $1::int AS n", [n])));
    assert.deepStrictEqual(found.map(({ rows }) => rows[0].n), [...Array(20).keys()]);
    await pool.end();
  },
};

(async () => {
  for (const [name, check] of Object.entries(checks)) {
    const client = new Client(login);
    await client.connect();
    await check(client);
    await client.end();
    console.log("ok", name);
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
