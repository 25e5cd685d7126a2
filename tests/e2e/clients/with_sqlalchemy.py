"""SQLAlchemy 2 with psycopg, as a program uses it: engine, reflection, a mapped class, pandas. `with_sqlalchemy.py HOST PORT PASSWORD`"""

import decimal
import sys

import pandas
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

host, port, password = sys.argv[1:]
engine = sa.create_engine(sa.URL.create("postgresql+psycopg", "maru", password, host, int(port), "maru"))


class Base(DeclarativeBase):
    pass


class Staff(Base):
    __tablename__ = "staff"
    __table_args__ = {"schema": "e2e_clients"}
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    salary: Mapped[decimal.Decimal]


def connects(connection):
    assert connection.scalar(sa.text("SELECT 1")) == 1
    assert connection.scalar(sa.select(sa.func.current_user())) == "maru"
    assert connection.dialect.server_version_info >= (12,)


def reflects(connection):
    inspector = sa.inspect(connection)
    assert "e2e_clients" in inspector.get_schema_names()
    assert inspector.get_view_names("e2e_clients") == ["staff"]
    assert inspector.get_table_names("e2e_clients") == []
    assert inspector.has_table("staff", "e2e_clients") and not inspector.has_table("nothing", "e2e_clients")
    columns = inspector.get_columns("staff", "e2e_clients")
    assert [(c["name"], c["type"].python_type) for c in columns] == [("id", int), ("name", str), ("salary", decimal.Decimal)], columns
    assert inspector.get_pk_constraint("staff", "e2e_clients")["constrained_columns"] == []


def maps_a_class(connection):
    with Session(connection) as session:
        kim = session.get(Staff, 1)
        assert (kim.name, kim.salary) == ("Kim", decimal.Decimal("10.50"))
        found = session.scalars(sa.select(Staff).where(Staff.name.in_(["Lee", "Park"])).order_by(Staff.name.desc()).limit(1)).one()
        assert found.id == 3
        assert session.scalar(sa.select(sa.func.count()).select_from(Staff)) == 3


def reads_frames(connection):
    frame = pandas.read_sql(sa.text("SELECT * FROM e2e_clients.staff WHERE id <= :id ORDER BY id"), connection, params={"id": 2})
    assert list(frame["name"]) == ["Kim", "Lee"]
    chunks = pandas.read_sql("SELECT n FROM generate_series(1, 5000) t(n)", connection, chunksize=1000)
    assert sum(len(chunk) for chunk in chunks) == 5000


def streams(connection):
    rows = connection.execution_options(stream_results=True, max_row_buffer=100).execute(sa.text("SELECT n FROM generate_series(1, 3000) t(n)"))
    assert sum(n for (n,) in rows) == 3000 * 3001 // 2


def reflects_tables(connection):
    inspector = sa.inspect(connection)
    assert inspector.get_indexes("staff", "e2e_clients") == []
    assert inspector.get_foreign_keys("staff", "e2e_clients") == []
    assert inspector.get_unique_constraints("staff", "e2e_clients") == []
    table = sa.Table("staff", sa.MetaData(), autoload_with=connection, schema="e2e_clients")
    assert [column.name for column in table.columns] == ["id", "name", "salary"]
    frame = pandas.read_sql_table("staff", connection, schema="e2e_clients")
    assert len(frame) == 3


def writes_in_transactions(connection):
    """The ORM at its defaults: units of work that are committed or not, savepoints, changes of rows that were there."""
    kept = sa.Table("units", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("name", sa.Text), schema="e2e_clients")

    class Unit:
        def __init__(self, id, name):
            self.id, self.name = id, name

    sa.orm.registry().map_imperatively(Unit, kept)
    with engine.begin() as own:
        # Tables of files have no keys, so it is not made by its definition.
        own.execute(sa.text("CREATE TABLE e2e_clients.units (id int NOT NULL, name text)"))
    assert [column["nullable"] for column in sa.inspect(engine).get_columns("units", "e2e_clients")] == [False, True]
    try:
        with Session(engine) as session:
            session.add_all([Unit(1, "one"), Unit(2, "two")])
            session.commit()
            session.add(Unit(3, "three"))
            session.get(Unit, 1).name = "first"
            session.flush()
            assert session.scalar(sa.select(sa.func.count()).select_from(kept)) == 3
            # Nobody else sees it, and it can be taken back.
            assert connection.scalar(sa.select(sa.func.count()).select_from(kept)) == 2
            session.rollback()
            with session.begin_nested():
                session.add(Unit(4, "four"))
            inner = session.begin_nested()
            session.add(Unit(5, "five"))
            session.flush()
            inner.rollback()
            session.delete(session.get(Unit, 2))
            session.commit()
        connection.rollback()
        assert connection.execute(sa.select(kept.c.id, kept.c.name).order_by(kept.c.id)).all() == [(1, "one"), (4, "four")]
        with engine.begin() as own:
            own.execute(kept.insert(), [{"id": n, "name": str(n)} for n in range(10, 60)])
            own.execute(kept.update().where(kept.c.id > 20).values(name=kept.c.name + "!"))
        assert connection.scalar(sa.select(sa.func.count()).where(kept.c.name.like("%!"))) == 39
    finally:
        connection.rollback()
        with engine.begin() as own:
            kept.drop(own)


def writes_frames(connection):
    frame = pandas.DataFrame({"id": [1, 2, 3], "name": ["a", None, "c"], "at": pandas.to_datetime(["2026-01-01", None, "2026-01-03"])})
    try:
        frame.to_sql("frames", engine, schema="e2e_clients", index=False)
        frame.to_sql("frames", engine, schema="e2e_clients", index=False, if_exists="append", method="multi")
        assert pandas.read_sql("SELECT count(*) AS n FROM e2e_clients.frames", connection)["n"][0] == 6
        connection.rollback()
        frame.to_sql("frames", engine, schema="e2e_clients", index=False, if_exists="replace")
        got = pandas.read_sql("SELECT * FROM e2e_clients.frames ORDER BY id", connection)
        assert list(got["id"]) == [1, 2, 3] and list(got["name"])[0] == "a" and str(got["at"][2].date()) == "2026-01-03"
        connection.rollback()
        # The index of the frame comes with CREATE INDEX.
        frame.to_sql("frames", engine, schema="e2e_clients", if_exists="replace")
        assert list(pandas.read_sql('SELECT "index" FROM e2e_clients.frames ORDER BY 1', connection)["index"]) == [0, 1, 2]
    finally:
        with engine.begin() as other:
            other.execute(sa.text("DROP TABLE e2e_clients.frames"))


for check in [connects, reflects, maps_a_class, reads_frames, streams, reflects_tables, writes_in_transactions, writes_frames]:
    with engine.connect() as connection:
        check(connection)
    print("ok", check.__name__, flush=True)
