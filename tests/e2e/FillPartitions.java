import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.StringJoiner;

/**
 * Fills the database of a metastore that does not run: a table that has some partitions gets the others up to a number, each with a
 * place of one of the first. Through the metastore itself a hundred thousand of them take an hour.
 */
public class FillPartitions {
    /** Rows of one table that are like one that is there. */
    private static final class Copies {
        private final Map<String, Object> pattern = new LinkedHashMap<>();
        private final PreparedStatement insert;

        Copies(Connection connection, String table, String key, long id) throws SQLException {
            try (Statement statement = connection.createStatement();
                    ResultSet found = statement.executeQuery("SELECT * FROM APP." + table + " WHERE " + key + " = " + id)) {
                found.next();
                for (int at = 1; at <= found.getMetaData().getColumnCount(); at++) {
                    pattern.put(found.getMetaData().getColumnName(at), found.getObject(at));
                }
            }
            StringJoiner columns = new StringJoiner("\", \"", "\"", "\"");
            StringJoiner values = new StringJoiner(", ");
            for (String column : pattern.keySet()) {
                columns.add(column);
                values.add("?");
            }
            insert = connection.prepareStatement("INSERT INTO APP." + table + " (" + columns + ") VALUES (" + values + ")");
        }

        void add(Map<String, Object> others) throws SQLException {
            int at = 1;
            for (Map.Entry<String, Object> column : pattern.entrySet()) {
                insert.setObject(at++, others.getOrDefault(column.getKey(), column.getValue()));
            }
            insert.addBatch();
        }
    }

    private static List<long[]> rows(Connection connection, String sql) throws SQLException {
        List<long[]> rows = new ArrayList<>();
        try (Statement statement = connection.createStatement(); ResultSet found = statement.executeQuery(sql)) {
            while (found.next()) {
                rows.add(new long[] {found.getLong(1), found.getLong(2), found.getLong(3)});
            }
        }
        return rows;
    }

    /** FOLDER TABLE NUMBER; the keys are month and part. */
    public static void main(String[] arguments) throws Exception {
        int number = Integer.parseInt(arguments[2]);
        try (Connection connection = DriverManager.getConnection("jdbc:derby:" + arguments[0])) {
            connection.setAutoCommit(false);
            List<long[]> there = rows(connection, "SELECT p.PART_ID, p.SD_ID, s.SERDE_ID FROM APP.PARTITIONS p JOIN APP.TBLS t ON t.TBL_ID = p.TBL_ID"
                + " JOIN APP.SDS s ON s.SD_ID = p.SD_ID WHERE t.TBL_NAME = '" + arguments[1] + "' ORDER BY p.PART_ID");
            long next = rows(connection, "SELECT max(p.PART_ID), max(s.SD_ID), max(e.SERDE_ID) FROM APP.PARTITIONS p, APP.SDS s, APP.SERDES e")
                .stream().mapToLong(row -> Math.max(row[0], Math.max(row[1], row[2]))).max().getAsLong() + 1;
            List<Copies> serdes = new ArrayList<>();
            List<Copies> places = new ArrayList<>();
            List<Copies> parts = new ArrayList<>();
            for (long[] one : there) {
                parts.add(new Copies(connection, "PARTITIONS", "PART_ID", one[0]));
                places.add(new Copies(connection, "SDS", "SD_ID", one[1]));
                serdes.add(new Copies(connection, "SERDES", "SERDE_ID", one[2]));
            }
            PreparedStatement value = connection.prepareStatement("INSERT INTO APP.PARTITION_KEY_VALS (PART_ID, PART_KEY_VAL, INTEGER_IDX) VALUES (?, ?, ?)");
            for (int at = there.size(); at < number; at++) {
                int like = at % there.size();
                long id = next + at;
                String month = String.format("m%03d", at / 1000);
                serdes.get(like).add(Map.of("SERDE_ID", id));
                places.get(like).add(Map.of("SD_ID", id, "SERDE_ID", id));
                parts.get(like).add(Map.of("PART_ID", id, "SD_ID", id, "PART_NAME", "month=" + month + "/part=" + at));
                int key = 0;
                for (String text : new String[] {month, String.valueOf(at)}) {
                    value.setLong(1, id);
                    value.setString(2, text);
                    value.setInt(3, key++);
                    value.addBatch();
                }
                if (at % 5000 == 4999 || at == number - 1) {
                    for (List<Copies> copies : List.of(serdes, places, parts)) {
                        for (Copies one : copies) {
                            one.insert.executeBatch();
                        }
                    }
                    value.executeBatch();
                    connection.commit();
                }
            }
            try (Statement statement = connection.createStatement()) {
                statement.executeUpdate("UPDATE APP.SEQUENCE_TABLE SET NEXT_VAL = " + (next + number + 1000) + " WHERE NEXT_VAL < " + (next + number + 1000));
            }
            connection.commit();
        }
        try {
            DriverManager.getConnection("jdbc:derby:;shutdown=true");
        } catch (SQLException stopped) {
            // So Derby says that it has stopped.
        }
    }
}
