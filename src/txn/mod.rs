//! Producers and transactions. So far: where producer ids come from. The transaction coordinator has its place here.

pub mod producer_ids;
