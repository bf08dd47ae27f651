# What people type. `.ci/run` is the truth; these are short names for parts of it.

default: check

# Everything that gates a change.
check:
    bash .ci/run

# Tests without network, node or python.
test:
    cargo test --workspace

# The main job with real servers and a real model.
real:
    cargo build --release
    python3 tests/real/run.py

# Figures beside raw SQLite.
bench:
    cargo bench --bench steps

# Everything that abide promises, tried whole: minutes to an hour. `just proof kills` runs one.
proof WHICH="":
    ABIDE_PROOF=whole cargo test --profile proof --test all -- --nocapture --test-threads=1 --include-ignored proof::{{WHICH}}
