//! What black-box tests and benchmarks share.
