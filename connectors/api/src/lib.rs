//! maru-connect
