//! The older way to ask a person to open an address: the call is refused with a code, and made again once they have. It
//! makes no call.

use abide_engine::Error;
use rmcp::model::ErrorData;
use serde_json::{Value, json};

use crate::calls::{Answers, Asked};

/// The code of 2025-11-25 for a call that needs addresses opened first.
const VISIT_FIRST: i32 = -32_042;

/// The state of such a question: no server is given it back.
const AGAIN: &str = "io.abide/again";

/// What a refusal asks for, if it is one of these.
pub(crate) fn asked(refused: &ErrorData) -> Option<Asked> {
    if refused.code.0 != VISIT_FIRST {
        return None;
    }
    let visits = refused.data.as_ref()?.get("elicitations")?.as_array()?;
    let request = |(number, params): (usize, &Value)| {
        (number.to_string(), json!({"method": "elicitation/create", "params": params}))
    };
    let requests = visits.iter().enumerate().map(request).collect();
    Some(Asked { requests, state: Some(AGAIN.to_owned()) })
}

/// What goes along with the next request: nothing, if the call is simply made again.
///
/// # Errors
/// The person did not want to.
pub(crate) fn onward(asked: &Asked, given: Answers) -> Result<Option<Answers>, Error> {
    if asked.state.as_deref() != Some(AGAIN) {
        return Ok(Some(given));
    }
    let all = given.responses.values().all(|response| response.get("action").is_some_and(|action| action == "accept"));
    if all {
        Ok(None)
    } else {
        Err(abide_engine::terminal("the tool needs an address opened first, and that was declined"))
    }
}
