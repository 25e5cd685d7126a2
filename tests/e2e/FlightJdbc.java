import java.math.BigDecimal;
import java.sql.*;
import java.util.*;
import java.util.concurrent.Callable;

/** What programs do with the JDBC driver of Arrow Flight SQL. Arguments: URL, user, password. Prints one line for each check. */
public class FlightJdbc {
    interface Check { void run(Connection c) throws Exception; }

    static String url, user, password;
    static boolean failed;

    static Connection connect(String... options) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", user);
        p.setProperty("password", password);
        p.setProperty("useEncryption", "false");
        for (int i = 0; i < options.length; i += 2) p.setProperty(options[i], options[i + 1]);
        return DriverManager.getConnection(url, p);
    }

    /** A connection with a catalog cannot be closed: the driver ends its session through a channel that it has shut down before. */
    static void close(Connection c, boolean hasCatalog) throws SQLException {
        try {
            c.close();
        } catch (SQLException error) {
            if (!hasCatalog || !error.getMessage().contains("Channel shutdown invoked")) throw error;
        }
    }

    static void check(String name, Check check, String... options) {
        try {
            Connection c = connect(options);
            try {
                check.run(c);
            } finally {
                close(c, options.length > 0);
            }
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

    static void fails(String text, Callable<?> work) throws Exception {
        try {
            work.call();
        } catch (SQLException error) {
            if (!error.getMessage().contains(text)) throw new AssertionError("expected " + text + ", got " + error, error);
            return;
        }
        throw new AssertionError("no error, " + text + " was expected");
    }

    static void types(Connection c) throws Exception {
        String sql = "SELECT true, 8::integer, 9::bigint, 2.5::double precision, 1.50::numeric(12,2), 'é', date '2026-11-03', "
            + "timestamp '2026-11-03 14:05:06.789', '\\x00ff'::bytea, null::bigint";
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            same(10, r.getMetaData().getColumnCount());
            r.next();
            same(true, r.getBoolean(1));
            same(8, r.getInt(2));
            same(9L, r.getLong(3));
            same(2.5, r.getDouble(4));
            same(new BigDecimal("1.50"), r.getBigDecimal(5));
            same("é", r.getString(6));
            same("2026-11-03", r.getDate(7).toString());
            same("2026-11-03 14:05:06.789", r.getTimestamp(8).toString());
            same("[0, -1]", Arrays.toString(r.getBytes(9)));
            r.getLong(10);
            same(true, r.wasNull());
            same(false, r.next());
        }
    }

    static void manyRows(Connection c) throws Exception {
        long sum = 0;
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT g FROM generate_series(1, 200000) t(g)")) {
            while (r.next()) sum += r.getLong(1);
        }
        same(200_000L * 200_001 / 2, sum);
    }

    static void prepared(Connection c) throws Exception {
        String[] texts = {"SELECT $1::bigint * 2 AS twice, $2::text AS name", "SELECT ?::bigint * 2 AS twice, ?::text AS name -- why?"};
        for (String text : texts) try (PreparedStatement s = c.prepareStatement(text)) {
            for (int run = 0; run < 3; run++) {
                s.setLong(1, run);
                s.setString(2, "n" + run);
                try (ResultSet r = s.executeQuery()) {
                    r.next();
                    same(2L * run, r.getLong("twice"));
                    same("n" + run, r.getString("name"));
                }
            }
        }
    }

    static void updates(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.executeUpdate("CREATE TABLE flight_jdbc (a integer, b text)");
            try {
                same(3, s.executeUpdate("INSERT INTO flight_jdbc VALUES (1, 'x'), (2, 'y'), (3, NULL)"));
                try (PreparedStatement p = c.prepareStatement("INSERT INTO flight_jdbc VALUES ($1, $2)")) {
                    p.setInt(1, 4);
                    p.setString(2, "z");
                    same(1, p.executeUpdate());
                }
                try (PreparedStatement p = c.prepareStatement("INSERT INTO flight_jdbc (b, a) VALUES (?, ? + 1)")) {
                    for (int i = 0; i < 3; i++) {
                        p.setString(1, "batch " + i);
                        p.setInt(2, 9 + i);
                        p.addBatch();
                    }
                    same(true, p.executeBatch().length > 0);
                }
                same(3L, one(c, "SELECT count(*) FROM flight_jdbc WHERE b LIKE 'batch%' AND a BETWEEN 10 AND 12"));
                same(3, s.executeUpdate("DELETE FROM flight_jdbc WHERE a >= 10"));
                same(4L, one(c, "SELECT count(*) FROM flight_jdbc"));
                same(2, s.executeUpdate("DELETE FROM flight_jdbc WHERE a < 3"));
            } finally {
                s.executeUpdate("DROP TABLE flight_jdbc");
            }
        }
    }

    static void errors(Connection c) throws Exception {
        fails("42P01", () -> one(c, "SELECT * FROM nosuch"));
        fails("22012", () -> one(c, "SELECT 1 / (g - 1) FROM generate_series(1, 2) t(g)"));
        same(1L, one(c, "SELECT 1"));
    }

    static int count(ResultSet r) throws Exception {
        try (r) {
            int n = 0;
            while (r.next()) n++;
            return n;
        }
    }

    static void metadata(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.executeUpdate("CREATE VIEW flight_jdbc_view AS SELECT 1::bigint AS n, 'x' AS t, 1.50::numeric(12,2) AS d");
        }
        try {
            DatabaseMetaData m = c.getMetaData();
            same("Maru", m.getDatabaseProductName());
            same("\"", m.getIdentifierQuoteString());
            List<String> names = new ArrayList<>();
            try (ResultSet r = m.getCatalogs()) {
                while (r.next()) names.add(r.getString(1));
            }
            same(true, names.contains("maru"));
            names.clear();
            try (ResultSet r = m.getSchemas("maru", "publ%")) {
                while (r.next()) names.add(r.getString("TABLE_SCHEM"));
            }
            same(List.of("public"), names);
            names.clear();
            try (ResultSet r = m.getTables("maru", "public", "flight_jdbc%", null)) {
                while (r.next()) names.add(r.getString("TABLE_NAME") + " " + r.getString("TABLE_TYPE"));
            }
            same(List.of("flight_jdbc_view VIEW"), names);
            names.clear();
            try (ResultSet r = m.getColumns("maru", "public", "flight_jdbc_view", "%")) {
                while (r.next()) names.add(r.getString("COLUMN_NAME") + " " + r.getInt("DATA_TYPE"));
            }
            same(List.of("n -5", "t 12", "d 3"), names);
            try (ResultSet r = m.getPrimaryKeys("maru", "public", "flight_jdbc_view")) {
                same(false, r.next());
            }
            same(0, count(m.getImportedKeys("maru", "public", "flight_jdbc_view")));
            same(0, count(m.getExportedKeys("maru", "public", "flight_jdbc_view")));
            same(0, count(m.getCrossReference("maru", "public", "flight_jdbc_view", "maru", "public", "flight_jdbc_view")));
            try (ResultSet r = m.getTableTypes()) {
                same(true, r.next());
            }
        } finally {
            try (Statement s = c.createStatement()) {
                s.executeUpdate("DROP VIEW flight_jdbc_view");
            }
        }
    }

    static void catalog(Connection c) throws Exception {
        same("system", String.valueOf(one(c, "SELECT 'system'")));
        same("maru", one(c, "SELECT current_catalog"));
    }

    /** The catalog of the connection is where bare names are looked up, for this connection alone. */
    static void otherCatalog(Connection plain) throws Exception {
        try (Statement s = plain.createStatement()) {
            s.executeUpdate("CREATE CATALOG flight_jdbc_other USING memory WITH (rows = 7)");
        }
        try {
            Connection c = connect("catalog", "flight_jdbc_other");
            try {
                same("flight_jdbc_other", one(c, "SELECT current_catalog"));
                same(7L, one(c, "SELECT count(*) FROM sample.numbers"));
                try (PreparedStatement s = c.prepareStatement("SELECT count(*) FROM sample.numbers WHERE n < ?")) {
                    s.setLong(1, 4);
                    try (ResultSet r = s.executeQuery()) {
                        r.next();
                        same(one(plain, "SELECT count(*) FROM flight_jdbc_other.sample.numbers WHERE n < 4"), r.getLong(1));
                    }
                }
                List<String> names = new ArrayList<>();
                try (ResultSet r = c.getMetaData().getTables("flight_jdbc_other", "sample", "%", null)) {
                    while (r.next()) names.add(r.getString("TABLE_CAT") + "." + r.getString("TABLE_SCHEM") + "." + r.getString("TABLE_NAME"));
                }
                same(true, names.contains("flight_jdbc_other.sample.numbers"));
                // What the other connections mean by a bare name stays as it was.
                fails("3F000", () -> one(plain, "SELECT count(*) FROM sample.numbers"));
                try (Connection third = connect()) {
                    same("maru", one(third, "SELECT current_catalog"));
                }
            } finally {
                close(c, true);
            }
            fails("no_such_catalog", () -> {
                Connection none = connect("catalog", "no_such_catalog");
                one(none, "SELECT current_catalog");
                return null;
            });
        } finally {
            try (Statement s = plain.createStatement()) {
                s.executeUpdate("DROP CATALOG flight_jdbc_other");
            }
        }
    }

    public static void main(String[] args) {
        url = args[0];
        user = args[1];
        password = args[2];
        check("types", FlightJdbc::types);
        check("many rows", FlightJdbc::manyRows);
        check("prepared statements", FlightJdbc::prepared);
        check("updates", FlightJdbc::updates);
        check("errors", FlightJdbc::errors);
        check("metadata", FlightJdbc::metadata);
        check("catalog", FlightJdbc::catalog, "catalog", "maru");
        check("other catalog", FlightJdbc::otherCatalog);
        System.exit(failed ? 1 : 0);
    }
}
