//! The order of joins: the same rows in any, with outer joins, conditions and names that stand twice in between.

use super::runtime_filters::{Numbers, sources};
use super::*;

impl Fixture {
    /// Returns whether the plans differ; the rows must not.
    async fn same_in_any_order(&self, sql: &str) -> bool {
        self.run("SET join_reorder = on").await.unwrap();
        let (on, plan) = (self.sorted(sql).await, self.explained(sql).await);
        self.run("SET join_reorder = off").await.unwrap();
        let (off, written) = (self.sorted(sql).await, self.explained(sql).await);
        self.run("SET join_reorder = on").await.unwrap();
        assert_eq!(on, off, "{sql}\n{plan}\n{written}");
        plan != written
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_trees_give_the_same_rows() {
    let maru = sources().await;
    let mut random = Numbers(20_261_126);
    let tables = [
        "lite.main.small",
        "lite.main.big",
        "lake.d.few",
        "lake.d.big",
        "(SELECT k AS id, t, v FROM lake.d.parts WHERE v = 1)",
        "(SELECT id, t, v FROM lite.main.big WHERE v < 3)",
        "(SELECT id, t, v FROM lake.d.big WHERE id BETWEEN 30 AND 90)",
        "(SELECT id, max(t) AS t, count(*) AS v FROM lake.d.big GROUP BY id)",
        "(SELECT f.id, b.t, f.v FROM lake.d.few f LEFT JOIN lite.main.big b ON b.id = f.id)",
    ];
    let mut n_changed = 0;
    for round in 0..90 {
        let n_relations = 3 + random.below(4) as usize;
        let mut from = format!("{} r0", random.pick(&tables));
        for relation in 1..n_relations {
            let other = random.below(relation as u64);
            let kind = random.pick(&["JOIN", "JOIN", "JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN"]);
            let more = match random.below(6) {
                0 => format!(" AND r{relation}.t = r{other}.t"),
                1 => format!(" AND r{relation}.v <> r{other}.v"),
                2 => format!(" AND (r{relation}.v > 2 OR r{other}.v < 3)"),
                3 => format!(" AND r{relation}.id + 1 > r{other}.id"),
                _ => String::new(),
            };
            let table = random.pick(&tables);
            from.push_str(&format!(
                " {kind} {table} r{relation} ON r{relation}.id = r{other}.id{more}"
            ));
        }
        let last = n_relations - 1;
        let condition = random.pick(&[
            "true",
            "r0.v IN (1, 2, 4)",
            "r1.id > 10",
            "r0.id IN (SELECT id FROM lite.main.small)",
            "NOT EXISTS (SELECT 1 FROM lite.main.big z WHERE z.id = r1.id AND z.v = 2)",
            "r1.t IS NOT NULL",
        ]);
        // Rows themselves where they are few, and what they add up to where they may be many.
        let columns = match random.below(2) {
            0 => format!("count(*), count(r1.id), sum(r{last}.v), min(r0.t), max(r{last}.t)"),
            _ => format!("r{last}.v, r0.v, r0.id, count(*), max(r1.t)"),
        };
        let group = if columns.starts_with('r') { " GROUP BY 1, 2, 3" } else { "" };
        let sql = format!("SELECT {columns} FROM {from} WHERE {condition}{group}");
        maru.run(&format!("SET target_partitions = {}", 1 + round % 4)).await.unwrap();
        n_changed += usize::from(maru.same_in_any_order(&sql).await);
    }
    assert!(n_changed > 10, "{n_changed} of 90 plans have another order");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_columns_stay_where_they_are() {
    let maru = sources().await;
    let sql = "SELECT * FROM lake.d.big a JOIN lite.main.big b ON a.id = b.id \
               JOIN lake.d.few c ON b.id = c.id AND c.v < a.id JOIN lite.main.small d ON d.v = c.v";
    assert!(maru.same_in_any_order(sql).await, "{}", maru.explained(sql).await);
    // Products that are written stay, and no other comes.
    let product = "SELECT count(*), sum(a.v) FROM lite.main.small a CROSS JOIN lake.d.few b \
                   JOIN lake.d.big c ON c.id = a.id JOIN lite.main.big d ON d.id = c.id";
    maru.same_in_any_order(product).await;
    assert_eq!(maru.explained(product).await.matches("CrossJoinExec").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_fail_is_not_asked_of_other_rows() {
    let maru = sources().await;
    // It fails where both are 24, which no row of `few` is.
    let sql = "SELECT count(*) FROM lake.d.few f JOIN lake.d.big b ON b.id = f.id \
               JOIN lite.main.big c ON c.id = b.id AND 10 / (b.id + c.id - 48) > -100";
    maru.same_in_any_order(sql).await;
    let volatile = "SELECT count(*) FROM lake.d.few f JOIN lake.d.big b ON b.id = f.id AND random() >= f.v - f.v \
                    JOIN lite.main.big c ON c.id = b.id";
    maru.same_in_any_order(volatile).await;
}
