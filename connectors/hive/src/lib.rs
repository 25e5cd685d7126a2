//! maru-hive
