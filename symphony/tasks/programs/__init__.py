"""Programming benchmarks in Python and Rust: MBPP, MBPP+ and HumanEval."""
