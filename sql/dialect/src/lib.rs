//! maru-sql
