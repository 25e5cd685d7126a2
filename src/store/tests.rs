//! The metadata database over restarts, and what lies in its file.

use super::*;

fn secret_options() -> BTreeMap<String, Secret> {
    BTreeMap::from([("password".to_owned(), Secret::new("hunter2-very-secret"))])
}

#[tokio::test]
async fn survives_a_restart_and_keeps_secrets_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let catalog = StoredCatalog {
        name: "crm".into(),
        connector: "postgres".into(),
        options: secret_options(),
        comment: None,
    };
    store.put_catalog(&catalog).await.unwrap();
    store.close().await;

    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|w| w == b"hunter2"), "a secret lies in clear");
    }
    let store = Store::open(dir.path()).await.unwrap();
    let back = store.catalogs().await.unwrap();
    assert_eq!(back[0].options["password"].reveal(), "hunter2-very-secret");
}

#[tokio::test]
async fn refuses_a_database_of_a_newer_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    sqlx::query("PRAGMA user_version = 99").execute(store.pool()).await.unwrap();
    store.close().await;
    assert_eq!(Store::open(dir.path()).await.unwrap_err().sqlstate(), "F0000");
}

#[test]
fn sealed_values_do_not_move_between_objects() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(dir.path()).unwrap();
    let sealed = vault.seal("secret/a", &Secret::new("x")).unwrap();
    assert_eq!(vault.open_sealed("secret/a", &sealed).unwrap().reveal(), "x");
    assert_eq!(vault.open_sealed("secret/b", &sealed).unwrap_err().sqlstate(), "XX001");
}
