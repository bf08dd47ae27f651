//! The proofs: what abide promises, tried many times over, each with the figure it prints. Under `cargo test` each runs in a small form with a
//! fixed seed; `just proof` runs all of them whole. They print counts and never times, and each is tried against mutants that it must catch.

mod dice;
mod doubt;
mod errors;
mod hostile;
mod kills;
mod linear;
mod mutants;
#[cfg(unix)]
mod owners;
mod power;
mod programs;
mod quota;
mod secrets;
mod upgrades;
mod vfs;

/// How much to do: `small` under `cargo test`, `whole` under `just proof`; `ABIDE_PROOF` may name any number.
fn count(name: &str, small: u64, whole: u64) -> u64 {
    let count = match std::env::var("ABIDE_PROOF").as_deref() {
        Err(_) | Ok("") => small,
        Ok("whole") => whole,
        Ok(number) => number.parse().expect("ABIDE_PROOF is `whole` or a number"),
    };
    println!("{name}: {count} to do, seed {}", seed());
    count
}

/// The seed of this run: the same unless `ABIDE_SEED` says otherwise.
fn seed() -> u64 {
    std::env::var("ABIDE_SEED").ok().map_or(7, |seed| seed.parse().expect("ABIDE_SEED is a number"))
}
