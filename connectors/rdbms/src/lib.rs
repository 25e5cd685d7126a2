//! maru-rdbms
