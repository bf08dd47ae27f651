//! `ctx.version`: code that was changed on purpose lets the runs of before and new ones both finish, each on its own side of the gate. It
//! never lets one run see two sides.

use abide::Builder;
use abide::prelude::*;

use super::{Desk, until, within};

/// The code of three releases: before the gate, with it, and with a second side more.
async fn flow(ctx: Ctx, _: (), release: u32) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    let step = |name: &'static str| ctx.step(name, (), move |()| async move { Ok::<_, Error>(name.to_owned()) });
    seen.push(step("first").await?);
    for round in 0..2 {
        let side = if release == 1 { 1 } else { ctx.version("how to pay", 1..=release) };
        seen.push(match side {
            1 => step("by cheque").await?,
            2 => step("by card").await?,
            _ => step("by phone").await?,
        });
        ctx.signal::<()>(format!("go {round}")).await?;
    }
    Ok(seen)
}

fn of(builder: Builder, release: u32) -> Builder {
    builder.recover(true).workflow("flow", move |ctx: Ctx, input: ()| flow(ctx, input, release))
}

const SIDES: [&str; 3] = ["by cheque", "by card", "by phone"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_new_runs_both_finish_each_on_its_side() {
    let desk = Desk::new();
    for release in 1..=3_u32 {
        let abide = of(desk.open(), release).start().await.unwrap();
        for (id, done) in [(format!("{release}-early"), false), (format!("{release}-late"), true)] {
            let run = abide.run("flow", &()).id(&id).await.unwrap();
            until(&run, "waiting", Some("signal")).await;
            if done {
                // One signal in, it has been at the gate twice.
                run.signal("go 0", &()).await.unwrap();
                within(async {
                    while run.report().unwrap().steps.len() < 5 {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
            }
        }
        // The runs of every release so far hold, with the code of this one.
        for info in abide.list(99).unwrap() {
            let replayed = within(abide.replay(&info.id)).await.unwrap();
            assert!(replayed.is_same(), "release {release}: {replayed:?}");
        }
        abide.shutdown().await;
    }
    let abide = of(desk.open(), 3).start().await.unwrap();
    for info in abide.list(99).unwrap() {
        let run = within(abide.resume(&info.id, false)).await.unwrap();
        for round in 0..2 {
            run.signal_once(&format!("go {round}"), &(), &format!("again {round}")).await.ok();
        }
        let seen: Vec<String> = within(run.result()).await.unwrap();
        let release: usize = info.id[..1].parse().unwrap();
        let side = SIDES[release - 1];
        assert_eq!(seen, ["first", side, side], "{}", info.id);
        assert!(within(abide.replay(&info.id)).await.unwrap().is_same());
    }
    abide.shutdown().await;
    // Code of before meets runs of after: it says so, and so does a gate that no longer has the side of a run.
    let abide = of(desk.open(), 1).start().await.unwrap();
    let replayed = within(abide.replay("3-late")).await.unwrap();
    assert!(!replayed.is_same());
    abide.shutdown().await;
    let narrow = |ctx: Ctx, (): ()| async move {
        ctx.step("first", (), |()| async move { Ok::<_, Error>("first".to_owned()) }).await?;
        Ok::<u32, Error>(ctx.version("how to pay", 2..=3))
    };
    let abide = desk.open().workflow("flow", narrow).start().await.unwrap();
    let replayed = within(abide.replay("3-late")).await.unwrap();
    assert_eq!(replayed.divergences[0].step.as_deref(), Some("end"), "{replayed:?}");
    abide.shutdown().await;
}
