import java.sql.*;

/** How long pgjdbc's questions for all tables and all columns of a database take, the second time: `getTables 100 12` is rows and ms. */
public class JdbcListing {
    interface Question {
        ResultSet ask() throws SQLException;
    }

    static void time(String name, Question question) throws SQLException {
        for (boolean again : new boolean[] {false, true}) {
            long start = System.nanoTime();
            int rows = 0;
            try (ResultSet r = question.ask()) {
                while (r.next()) rows++;
            }
            if (again) System.out.println(name + " " + rows + " " + (System.nanoTime() - start) / 1_000_000);
        }
    }

    public static void main(String[] args) throws SQLException {
        try (Connection c = DriverManager.getConnection(args[0], args[1], args[2])) {
            DatabaseMetaData m = c.getMetaData();
            time("getTables", () -> m.getTables(null, null, "t%", new String[] {"TABLE"}));
            time("getTables of all kinds", () -> m.getTables(null, "%", "t%", null));
            time("getColumns", () -> m.getColumns(null, null, "t%", "%"));
            time("getColumns of one table", () -> m.getColumns(null, "main", "t7", "%"));
            time("getSchemas", () -> m.getSchemas());
        }
    }
}
