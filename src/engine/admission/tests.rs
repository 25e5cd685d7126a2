//! Who is let in, in which order.

use super::*;
use crate::access::ResourceGroup;

fn rules(groups: &[(&str, &[(&str, &str)])]) -> Arc<Rules> {
    let mut rules = Rules::default();
    for (name, options) in groups {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let group =
            ResourceGroup::from_options(name, &options.collect::<Vec<_>>(), &rules).unwrap();
        rules.groups.insert((*name).to_owned(), group);
    }
    Arc::new(rules)
}

fn admission(running_max: usize, waiting_max: usize) -> Arc<Admission> {
    Admission::new(running_max, waiting_max, Governor::new(1000))
}

type Entering = tokio::task::JoinHandle<Result<Permit>>;

/// Begins to wait, and is in the queue or in when this returns.
async fn enter(
    admission: &Arc<Admission>,
    rules: &Arc<Rules>,
    group: &str,
    user: &str,
) -> Entering {
    let (admission, rules) = (Arc::clone(admission), Arc::clone(rules));
    let (group, user) = (group.to_owned(), user.to_owned());
    let task = tokio::spawn(async move { admission.enter(&rules, &group, &user).await });
    tokio::task::yield_now().await;
    task
}

#[tokio::test]
async fn queues_and_refuses_beyond_the_queue() {
    let (admission, rules) = (admission(1, 1), rules(&[]));
    let first = admission.enter(&rules, DEFAULT_GROUP, "kim").await.unwrap();
    let waiting = enter(&admission, &rules, DEFAULT_GROUP, "kim").await;
    assert_eq!(admission.n_waiting(), 1);
    assert_eq!(
        admission.enter(&rules, DEFAULT_GROUP, "lee").await.unwrap_err().sqlstate(),
        "53000"
    );
    assert_eq!(admission.n_waiting(), 1);
    drop(first);
    waiting.await.unwrap().unwrap();
    assert_eq!(admission.n_waiting(), 0);
}

#[tokio::test]
async fn places_are_kept_for_those_who_have_none() {
    let (admission, rules) = (admission(16, 100), rules(&[]));
    let mut greedy = Vec::new();
    for _ in 0..50 {
        greedy.push(enter(&admission, &rules, DEFAULT_GROUP, "kim").await);
    }
    assert_eq!(admission.groups(&rules)[0].running, 14);
    let lee = admission.enter(&rules, DEFAULT_GROUP, "lee").await.unwrap();
    let park = admission.enter(&rules, DEFAULT_GROUP, "park").await.unwrap();
    let mut choi = enter(&admission, &rules, DEFAULT_GROUP, "choi").await;
    assert!(!choi.is_finished());
    // The next place is not for whoever has most, though that one has waited longer.
    drop(lee);
    let choi = (&mut choi).await.unwrap().unwrap();
    drop((park, choi));
    assert_eq!(admission.groups(&rules)[0].running, 14);
    for task in greedy {
        task.abort();
        let _ = task.await;
    }
    let state = &admission.groups(&rules)[0];
    assert_eq!((state.running, state.queued), (0, 0));
}

#[tokio::test]
async fn groups_share_by_weight() {
    let rules = rules(&[("heavy", &[("weight", "3")]), ("light", &[])]);
    let admission = admission(7, 1000);
    let mut tasks = Vec::new();
    for n in 0..40 {
        for group in ["light", "heavy"] {
            tasks.push(enter(&admission, &rules, group, &format!("user{n}")).await);
        }
    }
    let running = |name: &str| {
        admission.groups(&rules).into_iter().find(|group| group.name == name).unwrap().running
    };
    // Those that came first took what was free; from then on places go by weight.
    for _ in 0..40 {
        let at = tasks.iter().position(Entering::is_finished).unwrap();
        drop(tasks.remove(at).await.unwrap().unwrap());
        tokio::task::yield_now().await;
        assert_eq!(running("heavy") + running("light"), 7);
    }
    assert!((5..=6).contains(&running("heavy")), "{}", running("heavy"));
}

#[tokio::test]
async fn limits_hold_for_what_is_within() {
    let rules = rules(&[
        ("bi", &[("concurrency", "2"), ("queue", "1")]),
        ("superset", &[("parent", "bi"), ("concurrency", "1")]),
        ("metabase", &[("parent", "bi")]),
    ]);
    let admission = admission(16, 100);
    let one = admission.enter(&rules, "superset", "kim").await.unwrap();
    let two = enter(&admission, &rules, "superset", "lee").await;
    assert!(!two.is_finished());
    let error = admission.enter(&rules, "superset", "park").await.unwrap_err();
    assert!(error.detail().unwrap().contains("\"bi\""), "{error:?}");
    // One that has to wait for its own group keeps none of another from running.
    let three = admission.enter(&rules, "metabase", "park").await.unwrap();
    drop(three);
    drop(one);
    two.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dropped_group_lets_its_statements_end() {
    let (admission, with) = (admission(16, 100), rules(&[("g", &[("concurrency", "1")])]));
    let one = admission.enter(&with, "g", "kim").await.unwrap();
    let two = enter(&admission, &with, "g", "kim").await;
    let without = rules(&[]);
    admission.follow(&without);
    drop(one);
    drop(two.await.unwrap().unwrap());
    assert_eq!(admission.groups(&without).len(), 1);
    drop(admission.enter(&without, "g", "kim").await.unwrap());
}

#[tokio::test]
async fn a_group_that_is_full_of_memory_starts_nothing_more() {
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool};
    let rules = rules(&[("g", &[("memory", "100B")])]);
    let admission = admission(16, 100);
    let governor = admission.governor(&rules, "g");
    let pool: Arc<dyn MemoryPool> = super::super::memory::QueryPool::new(governor, 1000);
    let permit = admission.enter(&rules, "g", "kim").await.unwrap();
    let held = MemoryConsumer::new("a").register(&pool);
    let error = held.try_grow(101).unwrap_err().to_string();
    assert!(error.contains("memory of resource group \"g\" of 100 B"), "{error}");
    held.try_grow(100).unwrap();
    let two = enter(&admission, &rules, "g", "lee").await;
    assert!(!two.is_finished());
    assert_eq!(admission.groups(&rules)[1].memory_bytes, 100);
    drop(permit);
    two.await.unwrap().unwrap();
}
