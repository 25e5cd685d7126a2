//! Rules about shell scripts.

use std::fs;

use crate::tree::{files, report, root};

#[cfg(unix)]
#[test]
fn scripts_can_be_run_and_stop_at_the_first_error() {
    use std::os::unix::fs::PermissionsExt;

    let mut broken = Vec::new();
    let mut scripts = 0;
    for file in files(|_| true) {
        let first = file.text.lines().next().unwrap_or("");
        if !first.starts_with("#!") {
            continue;
        }
        scripts += 1;
        let mode = fs::metadata(root().join(&file.path))
            .expect("the file was just read")
            .permissions()
            .mode();
        if mode & 0o111 != 0o111 {
            broken.push(format!("{}: not executable (chmod +x)", file.path));
        }
        if first.contains("sh") {
            let code = file.text.lines().find(|l| !l.starts_with('#') && !l.trim().is_empty());
            if code != Some("set -euo pipefail") {
                broken.push(format!("{}: the first command is not `set -euo pipefail`", file.path));
            }
        }
    }
    assert!(scripts >= 3, "found only {scripts} scripts");
    report("scripts:", &broken);
}
