//! Numbers of roles, by which PostgreSQL's catalog knows them: owners, grantees, members.
//!
//! A role gets its number when it is first asked for and keeps it as long as the process runs, as tables and schemas keep theirs. The
//! superuser and the predefined roles have the numbers that they have everywhere.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::Mutex;

use super::login::SUPERUSER;

/// Numbers that are the same in every database of PostgreSQL.
const FIXED: &[(&str, i32)] = &[
    (SUPERUSER, 10),
    ("pg_monitor", 3373),
    ("pg_read_all_data", 6181),
    ("pg_read_server_files", 4569),
    ("pg_signal_backend", 4200),
    ("pg_write_server_files", 4570),
];

/// The first number that is free.
const FIRST: i32 = 16_384;

#[derive(Default)]
struct Known {
    oids: HashMap<String, i32>,
    /// In the order of their numbers.
    names: Vec<String>,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// Returns the number of a role.
pub fn role_oid(role: &str) -> i32 {
    if let Some((_, oid)) = FIXED.iter().find(|(name, _)| *name == role) {
        return *oid;
    }
    let mut known = KNOWN.lock();
    if let Some(oid) = known.oids.get(role) {
        return *oid;
    }
    let next = i32::try_from(known.names.len()).ok().and_then(|n| FIRST.checked_add(n));
    let Some(oid) = next else { return 0 };
    known.names.push(role.to_owned());
    known.oids.insert(role.to_owned(), oid);
    oid
}

/// Returns the role of a number that was given out.
pub fn role_of_oid(oid: i64) -> Option<String> {
    if let Some((name, _)) = FIXED.iter().find(|(_, known)| i64::from(*known) == oid) {
        return Some((*name).to_owned());
    }
    let at = usize::try_from(oid.checked_sub(i64::from(FIRST))?).ok()?;
    KNOWN.lock().names.get(at).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_keeps_its_number() {
        let one = role_oid("oids_one");
        assert!(one >= FIRST);
        assert_ne!(one, role_oid("oids_two"));
        assert_eq!(one, role_oid("oids_one"));
        assert_eq!(role_of_oid(i64::from(one)).as_deref(), Some("oids_one"));
        assert_eq!(role_of_oid(10).as_deref(), Some(SUPERUSER));
        assert_eq!(role_of_oid(i64::from(i32::MAX)), None);
        assert_eq!(role_of_oid(0), None);
    }
}
