//! The `abide` binary: hands over to the command line of the library. It holds no logic of its own.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    abide::cli::main()
}
