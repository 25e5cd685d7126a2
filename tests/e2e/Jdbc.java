import java.math.BigDecimal;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

/** What programs do with PostgreSQL's JDBC driver. Arguments: URL, user, password. Prints one line for each check. */
public class Jdbc {
    interface Check { void run(Connection c) throws Exception; }

    static String url, user, password;
    static boolean failed;

    static Connection connect(String... options) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", user);
        p.setProperty("password", password);
        for (int i = 0; i < options.length; i += 2) p.setProperty(options[i], options[i + 1]);
        return DriverManager.getConnection(url, p);
    }

    static void check(String name, Check check, String... options) {
        try (Connection c = connect(options)) {
            check.run(c);
            System.out.println("ok " + name);
        } catch (Throwable error) {
            failed = true;
            System.out.println("FAILED " + name + ": " + error);
            error.printStackTrace(System.out);
        }
    }

    static void same(Object expected, Object got) {
        if (!Objects.equals(expected, got)) throw new AssertionError("expected " + expected + ", got " + got);
    }

    static Object one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            r.next();
            return r.getObject(1);
        }
    }

    static void fails(String state, Callable<?> work) throws Exception {
        try {
            work.call();
        } catch (SQLException error) {
            same(state, error.getSQLState());
            return;
        }
        throw new AssertionError("no error, " + state + " was expected");
    }

    static void types(Connection c) throws Exception {
        String sql = "SELECT true, 7::smallint, 8::integer, 9::bigint, 1.5::real, 2.5::double precision, 1.50::numeric(12,2), 'é'::text, "
            + "date '2026-11-03', time '14:05:06', timestamp '2026-11-03 14:05:06.789', timestamptz '2026-11-03 14:05:06+09', '\\x00ff'::bytea, "
            + "array[1,2]::bigint[], array['a', null], null::bigint, row_number() over ()";
        try (PreparedStatement s = c.prepareStatement(sql)) {
            // From the fifth run on the driver names the statement and asks for binary.
            for (int run = 0; run < 8; run++) {
                try (ResultSet r = s.executeQuery()) {
                    r.next();
                    same(true, r.getBoolean(1));
                    same(7, r.getInt(2));
                    same(8, r.getObject(3));
                    same(9L, r.getObject(4));
                    same(1.5f, r.getObject(5));
                    same(2.5, r.getObject(6));
                    same(new BigDecimal("1.50"), r.getObject(7));
                    same("é", r.getString(8));
                    same(java.time.LocalDate.of(2026, 11, 3), r.getObject(9, java.time.LocalDate.class));
                    same(java.time.LocalTime.of(14, 5, 6), r.getObject(10, java.time.LocalTime.class));
                    same(java.time.LocalDateTime.of(2026, 11, 3, 14, 5, 6, 789_000_000), r.getObject(11, java.time.LocalDateTime.class));
                    same(java.time.Instant.parse("2026-11-03T05:05:06Z"), r.getObject(12, java.time.OffsetDateTime.class).toInstant());
                    same("[0, -1]", Arrays.toString(r.getBytes(13)));
                    same("[1, 2]", Arrays.toString((Object[]) r.getArray(14).getArray()));
                    same("[a, null]", Arrays.toString((Object[]) r.getArray(15).getArray()));
                    same(null, r.getObject(16));
                    same(1L, r.getObject(17));
                }
            }
        }
    }

    static void parameters(Connection c) throws Exception {
        try (PreparedStatement s = c.prepareStatement(
                "SELECT ?::bigint, ?::text, ?::numeric, ?::timestamp, ?::date, ?::boolean, ?::double precision, ?::bytea, ?")) {
            for (int run = 0; run < 8; run++) {
                s.setLong(1, 1L << 40);
                s.setString(2, "it's");
                s.setBigDecimal(3, new BigDecimal("-12.340"));
                s.setObject(4, java.time.LocalDateTime.of(2026, 1, 31, 23, 59, 59));
                s.setObject(5, java.time.LocalDate.of(2026, 1, 31));
                s.setBoolean(6, true);
                s.setDouble(7, 0.1);
                s.setBytes(8, new byte[] {1, 2});
                s.setNull(9, Types.VARCHAR);
                try (ResultSet r = s.executeQuery()) {
                    r.next();
                    same(1L << 40, r.getLong(1));
                    same("it's", r.getString(2));
                    same(0, new BigDecimal("-12.340").compareTo(r.getBigDecimal(3)));
                    same(Timestamp.valueOf("2026-01-31 23:59:59"), r.getTimestamp(4));
                    same(java.sql.Date.valueOf("2026-01-31"), r.getDate(5));
                    same(true, r.getBoolean(6));
                    same(0.1, r.getDouble(7));
                    same("[1, 2]", Arrays.toString(r.getBytes(8)));
                    same(null, r.getString(9));
                }
            }
        }
    }

    static void fetchSize(Connection c) throws Exception {
        c.setAutoCommit(false);
        try (PreparedStatement s = c.prepareStatement("SELECT g FROM generate_series(1, 10000) t(g)")) {
            s.setFetchSize(100);
            long sum = 0;
            try (ResultSet r = s.executeQuery()) {
                while (r.next()) sum += r.getLong(1);
            }
            same(50_005_000L, sum);
        }
        c.commit();
    }

    static void transactions(Connection c) throws Exception {
        c.setAutoCommit(false);
        same(1L, ((Number) one(c, "SELECT 1")).longValue());
        Savepoint savepoint = c.setSavepoint("s");
        fails("22012", () -> one(c, "SELECT 1/0"));
        fails("25P02", () -> one(c, "SELECT 1"));
        c.rollback(savepoint);
        one(c, "SELECT 1");
        c.releaseSavepoint(savepoint);
        c.commit();
        c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        c.setReadOnly(true);
        one(c, "SELECT 1");
        c.rollback();
        c.setAutoCommit(true);
        same(true, c.isValid(5));
    }

    static void autosave(Connection c) throws Exception {
        c.setAutoCommit(false);
        one(c, "SELECT 1");
        fails("22012", () -> one(c, "SELECT 1/0"));
        one(c, "SELECT 2");
        c.commit();
    }

    static void cancel(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            ScheduledExecutorService later = Executors.newSingleThreadScheduledExecutor();
            later.schedule(() -> { s.cancel(); return null; }, 1, TimeUnit.SECONDS);
            fails("57014", () -> s.executeQuery("SELECT pg_sleep(60)"));
            later.shutdown();
        }
        try (Statement s = c.createStatement()) {
            s.setQueryTimeout(1);
            fails("57014", () -> s.executeQuery("SELECT pg_sleep(60)"));
        }
        one(c, "SELECT 1");
    }

    static void metadata(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.execute("CREATE SCHEMA jdbc");
            s.execute("CREATE VIEW jdbc.v AS SELECT 1::bigint AS n, 'x' AS t, 1.50::numeric(12,2) AS d");
        }
        try {
            DatabaseMetaData m = c.getMetaData();
            same("PostgreSQL", m.getDatabaseProductName());
            List<String> names = new ArrayList<>();
            try (ResultSet r = m.getTables(null, "jdbc", "%", null)) {
                while (r.next()) names.add(r.getString("TABLE_NAME") + " " + r.getString("TABLE_TYPE"));
            }
            same(List.of("v VIEW"), names);
            names.clear();
            try (ResultSet r = m.getColumns(null, "jdbc", "v", "%")) {
                while (r.next()) names.add(r.getString("COLUMN_NAME") + " " + r.getInt("DATA_TYPE"));
            }
            same(List.of("n -5", "t 12", "d 2"), names);
            names.clear();
            try (ResultSet r = m.getSchemas()) {
                while (r.next()) names.add(r.getString(1));
            }
            same(true, names.contains("jdbc"));
            try (ResultSet r = m.getCatalogs()) {
                same(true, r.next());
            }
            try (PreparedStatement s = c.prepareStatement("SELECT * FROM jdbc.v WHERE n = ?")) {
                ResultSetMetaData columns = s.getMetaData();
                same(3, columns.getColumnCount());
                same("numeric", columns.getColumnTypeName(3));
                same(12, columns.getPrecision(3));
                same(1, s.getParameterMetaData().getParameterCount());
            }
        } finally {
            try (Statement s = c.createStatement()) {
                s.execute("DROP SCHEMA jdbc CASCADE");
            }
        }
    }

    static int count(ResultSet r) throws Exception {
        try (r) {
            int n = 0;
            while (r.next()) n++;
            return n;
        }
    }

    static void moreMetadata(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TABLE jdbc_keys (n bigint, t text, a text[])");
        }
        try {
            DatabaseMetaData m = c.getMetaData();
            List<String> names = new ArrayList<>();
            try (ResultSet r = m.getTypeInfo()) {
                while (r.next()) names.add(r.getString("TYPE_NAME"));
            }
            same(true, names.containsAll(List.of("int8", "text", "numeric", "timestamptz", "_int8", "bool")));
            same(0, count(m.getPrimaryKeys(null, "public", "jdbc_keys")));
            same(0, count(m.getIndexInfo(null, "public", "jdbc_keys", false, true)));
            same(0, count(m.getImportedKeys(null, "public", "jdbc_keys")));
            same(0, count(m.getExportedKeys(null, "public", "jdbc_keys")));
            same(0, count(m.getCrossReference(null, "public", "jdbc_keys", null, "public", "jdbc_keys")));
            same(0, count(m.getBestRowIdentifier(null, "public", "jdbc_keys", DatabaseMetaData.bestRowSession, true)));
            same(0, count(m.getUDTs(null, "public", "%", null)));
            same(true, count(m.getFunctions(null, null, "%")) > 0);
            same(0, count(m.getFunctionColumns(null, "public", "nothing", null)));
            same(0, count(m.getProcedures(null, "public", "%")));
            same(0, count(m.getProcedureColumns(null, "public", "nothing", null)));
            count(m.getTablePrivileges(null, "public", "jdbc_keys"));
            count(m.getColumnPrivileges(null, "public", "jdbc_keys", "%"));
            same(true, m.getSQLKeywords().contains("analyze"));
            same(true, m.getTimeDateFunctions().length() > 0);
            same(true, m.getMaxColumnNameLength() >= 63);
            same(true, count(m.getTableTypes()) > 1);
            names.clear();
            try (ResultSet r = m.getColumns(null, "public", "jdbc_keys", "%")) {
                while (r.next()) names.add(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME") + " " + r.getString("IS_NULLABLE"));
            }
            same(List.of("n int8 YES", "t text YES", "a _text YES"), names);
            try (PreparedStatement p = c.prepareStatement("INSERT INTO jdbc_keys VALUES (?, ?, ?)")) {
                p.setLong(1, 1);
                p.setString(2, "x");
                p.setArray(3, c.createArrayOf("text", new String[] {"a,b", null, "c"}));
                same(1, p.executeUpdate());
            }
            try (PreparedStatement p = c.prepareStatement("SELECT a FROM jdbc_keys WHERE n = ANY(?) AND 'c' = ANY(a)")) {
                p.setArray(1, c.createArrayOf("bigint", new Long[] {1L, 2L}));
                for (int run = 0; run < 7; run++) {
                    try (ResultSet r = p.executeQuery()) {
                        same(true, r.next());
                        same("[a,b, null, c]", Arrays.toString((Object[]) r.getArray(1).getArray()));
                    }
                }
            }
        } finally {
            try (Statement s = c.createStatement()) {
                s.execute("DROP TABLE jdbc_keys");
            }
        }
    }

    static void copy(Connection c) throws Exception {
        org.postgresql.copy.CopyManager copies = c.unwrap(org.postgresql.PGConnection.class).getCopyAPI();
        java.io.StringWriter out = new java.io.StringWriter();
        same(3L, copies.copyOut("COPY (SELECT g, 'x' FROM generate_series(1, 3) t(g)) TO STDOUT (FORMAT csv)", out));
        same("1,x\n2,x\n3,x\n", out.toString());
        fails("42P01", () -> copies.copyIn("COPY nosuch FROM STDIN", new java.io.StringReader("1\n")));
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TABLE jdbc_copied (a integer, b text)");
        }
        try {
            same(2L, copies.copyIn("COPY jdbc_copied FROM STDIN (FORMAT csv)", new java.io.StringReader("1,x\n2,\"y, z\"\n")));
            org.postgresql.copy.CopyIn rows = copies.copyIn("COPY jdbc_copied (a) FROM STDIN");
            byte[] line = "7\n".getBytes();
            for (int i = 0; i < 20_000; i++) rows.writeToCopy(line, 0, line.length);
            same(20_000L, rows.endCopy());
            org.postgresql.copy.CopyIn given = copies.copyIn("COPY jdbc_copied (a) FROM STDIN");
            given.writeToCopy(line, 0, line.length);
            given.cancelCopy();
            fails("22P02", () -> copies.copyIn("COPY jdbc_copied FROM STDIN", new java.io.StringReader("x\ty\n")));
            same(20_002L, one(c, "SELECT count(*) FROM jdbc_copied"));
        } finally {
            try (Statement s = c.createStatement()) {
                s.execute("DROP TABLE jdbc_copied");
            }
        }
    }

    /** Counts as JDBC has them: of a batch that the driver has rewritten it only says that it was done. */
    static void counts(int[] got, boolean rewritten, int... expected) {
        int[] told = expected.clone();
        if (rewritten) Arrays.fill(told, Statement.SUCCESS_NO_INFO);
        same(Arrays.toString(told), Arrays.toString(got));
    }

    static void add(PreparedStatement s, int from, int to, Integer wrong) throws SQLException {
        for (int n = from; n <= to; n++) {
            s.setInt(1, n);
            s.setString(2, "row " + n);
            // The third value divides; zero is the error in the middle.
            s.setInt(3, wrong != null && n == wrong ? 0 : 1);
            s.addBatch();
        }
    }

    static long rows(Connection c) throws SQLException {
        return (Long) one(c, "SELECT count(*) FROM jdbc_batch");
    }

    static void batches(Connection c, boolean rewritten) throws Exception {
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TABLE jdbc_batch (a integer, b text, d integer)");
        }
        try (PreparedStatement s = c.prepareStatement("INSERT INTO jdbc_batch (a, b, d) VALUES (?, ?, ?)");
             PreparedStatement divides = c.prepareStatement("INSERT INTO jdbc_batch (a, b, d) VALUES (?, ?, 60 / ?::integer)")) {
            // The driver rewrites by powers of two, so that six rows are two statements.
            add(s, 1, 6, null);
            counts(s.executeBatch(), rewritten, 1, 1, 1, 1, 1, 1);
            same(6L, rows(c));
            same(21L, one(c, "SELECT sum(a) FROM jdbc_batch WHERE b = 'row ' || a"));
            same(0, s.executeBatch().length);
            add(s, 8, 8, null);
            s.clearBatch();
            same(0, s.executeBatch().length);
            same(6L, rows(c));

            // What is sent before one Sync is one transaction: the counts tell what is there afterwards, so that a program can send the rest.
            add(divides, 11, 17, 16);
            try {
                divides.executeBatch();
                throw new AssertionError("no error");
            } catch (BatchUpdateException error) {
                same("22012", error.getSQLState());
                int[] told = error.getUpdateCounts();
                long done = Arrays.stream(told).filter(n -> n != Statement.EXECUTE_FAILED).count();
                same(done, (Long) one(c, "SELECT count(*) FROM jdbc_batch WHERE a > 10"));
            }
            // In a transaction all of it is undone.
            c.setAutoCommit(false);
            add(s, 21, 24, null);
            counts(s.executeBatch(), rewritten, 1, 1, 1, 1);
            Savepoint before = c.setSavepoint();
            add(divides, 31, 37, 34);
            try {
                divides.executeBatch();
                throw new AssertionError("no error");
            } catch (BatchUpdateException error) {
                same("22012", error.getSQLState());
                for (int n : error.getUpdateCounts()) same(Statement.EXECUTE_FAILED, n);
            }
            fails("25P02", () -> rows(c));
            c.rollback(before);
            same(4L, one(c, "SELECT count(*) FROM jdbc_batch WHERE a BETWEEN 21 AND 24"));
            same(0L, one(c, "SELECT count(*) FROM jdbc_batch WHERE a > 30"));
            c.commit();
            c.setAutoCommit(true);
            same(4L, one(c, "SELECT count(*) FROM jdbc_batch WHERE a > 20"));
        } finally {
            c.setAutoCommit(true);
            try (Statement s = c.createStatement()) {
                s.execute("DROP TABLE jdbc_batch");
            }
        }
    }

    static void batchOfTexts(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TABLE jdbc_batch (a integer, b text, d integer)");
            try {
                s.addBatch("INSERT INTO jdbc_batch VALUES (1, 'x', 1), (2, 'y', 1), (3, 'z', 2)");
                s.addBatch("UPDATE jdbc_batch SET b = 'w' WHERE d = 1");
                s.addBatch("DELETE FROM jdbc_batch WHERE a = 100");
                s.addBatch("DELETE FROM jdbc_batch WHERE b = 'w' AND a = 2");
                same("[3, 2, 0, 1]", Arrays.toString(s.executeBatch()));
                same("w", one(c, "SELECT b FROM jdbc_batch WHERE a = 1"));
            } finally {
                s.execute("DROP TABLE jdbc_batch");
            }
        }
    }

    static long within(long mostMs, Callable<?> work) throws Exception {
        long began = System.nanoTime();
        work.call();
        long took = (System.nanoTime() - began) / 1_000_000;
        if (took > mostMs) throw new AssertionError("it took " + took + " ms");
        return took;
    }

    static void queryTimeout(Connection c) throws Exception {
        try (PreparedStatement s = c.prepareStatement("SELECT pg_sleep(?)")) {
            s.setQueryTimeout(1);
            same(1, s.getQueryTimeout());
            for (int run = 0; run < 2; run++) {
                s.setDouble(1, 60);
                same(true, within(10_000, () -> { fails("57014", s::executeQuery); return null; }) >= 900);
                s.setDouble(1, 0.01);
                s.executeQuery().close();
            }
        }
        // What computes is ended as well as what sleeps, and so is what writes: nothing of it is there.
        try (Statement s = c.createStatement()) {
            s.execute("CREATE TABLE jdbc_late (n bigint)");
            try {
                s.setQueryTimeout(1);
                String endless = "SELECT sum(n * 7 % 13) FROM generate_series(1, 400000000000) AS g(n)";
                within(10_000, () -> { fails("57014", () -> s.executeQuery(endless)); return null; });
                within(10_000, () -> { fails("57014", () -> s.executeUpdate("INSERT INTO jdbc_late " + endless)); return null; });
                // A timeout that is over reaches nothing that comes later.
                s.setQueryTimeout(0);
                s.execute("SELECT pg_sleep(1.2)");
                same(0L, one(c, "SELECT count(*) FROM jdbc_late"));
            } finally {
                s.setQueryTimeout(0);
                s.execute("DROP TABLE jdbc_late");
            }
        }
    }

    static void rowsAsTheyAreRead(Connection c) throws Exception {
        c.setAutoCommit(false);
        // Nobody waits for all of these: they come a hundred at a time, and other statements go in between.
        try (PreparedStatement s = c.prepareStatement("SELECT g FROM generate_series(1, 400000000000) t(g)")) {
            s.setFetchSize(100);
            try (ResultSet r = s.executeQuery()) {
                for (long n = 1; n <= 1050; n++) {
                    same(true, r.next());
                    same(n, r.getLong(1));
                    if (n % 150 == 0) same(n, one(c, "SELECT " + n + "::bigint"));
                }
                r.setFetchSize(7);
                for (long n = 1051; n <= 1400; n++) {
                    r.next();
                    same(n, r.getLong(1));
                }
            }
            // The end of the transaction ends the rows.
            ResultSet r = s.executeQuery();
            r.next();
            c.commit();
            fails("34000", () -> { while (r.next()) { } return null; });
            c.rollback();
            // With setMaxRows they end there, whatever the fetch size.
            s.setMaxRows(250);
            same(250, count(s.executeQuery()));
        }
        c.commit();
    }

    static void socketTimeout(Connection watcher) throws Exception {
        String own = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'jdbc socket'";
        Connection c = connect(
            "socketTimeout", "1", "connectTimeout", "5", "loginTimeout", "10", "tcpKeepAlive", "true", "ApplicationName", "jdbc socket");
        same(1L, one(watcher, own));
        one(c, "SELECT pg_sleep(0.3)");
        within(8_000, () -> { fails("08006", () -> one(c, "SELECT pg_sleep(60)")); return null; });
        same(true, c.isClosed());
        // Whoever hangs up leaves no statement behind.
        for (int turn = 0; !one(watcher, own).equals(0L); turn++) {
            if (turn > 100) throw new AssertionError("the session goes on");
            Thread.sleep(100);
        }
        // By default nobody hangs up, and a longer one lets a statement end.
        try (Connection longer = connect("socketTimeout", "20")) {
            one(longer, "SELECT pg_sleep(1.2)");
        }
    }

    public static void main(String[] args) {
        url = args[0];
        user = args[1];
        password = args[2];
        check("types", Jdbc::types);
        check("types in binary", Jdbc::types, "prepareThreshold", "-1");
        check("types by simple queries", Jdbc::types, "preferQueryMode", "simple");
        check("parameters", Jdbc::parameters);
        check("parameters in binary", Jdbc::parameters, "prepareThreshold", "-1");
        check("fetch size", Jdbc::fetchSize);
        check("transactions", Jdbc::transactions);
        check("autosave", Jdbc::autosave, "autosave", "always");
        check("cancel", Jdbc::cancel);
        check("metadata", Jdbc::metadata);
        check("more metadata", Jdbc::moreMetadata);
        check("copy", Jdbc::copy);
        check("batches", c -> batches(c, false));
        check("batches of named statements", c -> batches(c, false), "prepareThreshold", "1");
        check("batches rewritten", c -> batches(c, true), "reWriteBatchedInserts", "true");
        check("batch of texts", Jdbc::batchOfTexts);
        check("query timeout", Jdbc::queryTimeout);
        check("rows as they are read", Jdbc::rowsAsTheyAreRead);
        check("socket timeout", Jdbc::socketTimeout);
        System.exit(failed ? 1 : 0);
    }
}
