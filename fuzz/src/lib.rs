//! Fuzz targets as functions, so that tests replay the corpus.
pub mod config;
