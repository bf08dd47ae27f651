//! Tests of all assemblers: samples as the wires send them, cut everywhere, and broken in every way. They never reach a network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use futures_util::{FutureExt, stream};

use super::samples::{Sample, samples};
use super::*;

/// What comes of these pieces of a body that ends after them.
fn read(provider: Provider, framing: Framing, pieces: &[&[u8]]) -> (Vec<Delta>, Result<Value, Broken>) {
    let bytes = stream::iter(pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>());
    let mut shown = Vec::new();
    let mut show = |delta| shown.push(delta);
    let answer = assemble(Assembler::new(provider), framing, bytes, &mut show).now_or_never().unwrap();
    (shown, answer)
}

impl Sample {
    fn read(&self, bytes: &[u8]) -> Result<Value, Broken> {
        read(self.provider, self.framing, &[bytes]).1
    }

    fn body(&self) -> String {
        self.events.concat()
    }

    /// How an event with this data is written.
    fn event(&self, data: &str) -> String {
        match self.framing {
            Framing::Sse => format!("data: {data}\n\n"),
            Framing::Lines => format!("{data}\n"),
        }
    }

    fn check(&self, pieces: &[&[u8]]) {
        let (shown, answer) = read(self.provider, self.framing, pieces);
        let answer = answer.unwrap_or_else(|broken| panic!("{}: {broken:?} of {pieces:?}", self.name));
        assert_eq!(answer, self.answer, "{}", self.name);
        assert_eq!(shown, self.shown, "{}", self.name);
    }
}

#[test]
fn a_stream_becomes_the_answer_however_its_bytes_are_cut() {
    for sample in samples() {
        let body = sample.body();
        let bytes = body.as_bytes();
        sample.check(&[bytes]);
        for at in 0..bytes.len() {
            sample.check(&[&bytes[..at], &bytes[at..]]);
        }
        sample.check(&bytes.chunks(1).collect::<Vec<_>>());
        sample.check(&bytes.chunks(7).collect::<Vec<_>>());
    }
}

#[test]
fn what_a_stream_becomes_is_a_reply_of_its_wire() {
    for sample in samples() {
        let reply = crate::wire::parse(sample.provider, &sample.answer)
            .unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        let text: String =
            sample.shown.iter().map(|delta| if let Delta::Text(text) = delta { text } else { "" }).collect();
        assert_eq!(reply.text, text, "{}", sample.name);
        let shown = sample
            .shown
            .iter()
            .filter_map(|delta| if let Delta::ToolCall { name } = delta { Some(name) } else { None });
        assert!(reply.tool_calls.iter().map(|call| &call.name).eq(shown), "{}", sample.name);
        assert!(reply.tool_calls.iter().all(|call| call.arguments.is_ok()));
        assert!(reply.usage.input_tokens > 0 || sample.name == "chat, calls", "{}", sample.name);
    }
}

#[test]
fn events_may_be_written_in_any_way_that_is_allowed() {
    for sample in samples().iter().filter(|sample| sample.framing == Framing::Sse) {
        let body = sample.body();
        let with_comments = format!("\u{feff}: hello\n\n{}", body.replace("data:", ":data: {\nretry: 5\nid: é\ndata:"));
        // Lines of one event's data are joined by line breaks, which mean nothing in JSON.
        let many_lines = body.replace(",\"", ",\ndata: \"");
        assert_ne!(many_lines, body);
        for body in [&body, &with_comments, &many_lines] {
            for ends in ["\n", "\r\n", "\r"] {
                let body = body.replace('\n', ends);
                sample.check(&[body.as_bytes()]);
                sample.check(&body.as_bytes().chunks(1).collect::<Vec<_>>());
                sample.check(&body.as_bytes().chunks(3).collect::<Vec<_>>());
            }
        }
        sample.check(&[body.replace("data: ", "data:").as_bytes()]);
        sample.check(&[body.trim_end().as_bytes()]);
    }
    for sample in samples().iter().filter(|sample| sample.framing == Framing::Lines) {
        sample.check(&[sample.body().replace('\n', "\r\n\n").as_bytes()]);
        sample.check(&[sample.body().trim_end().as_bytes()]);
    }
}

#[test]
fn a_stream_that_ends_too_early_is_never_an_answer() {
    for sample in samples() {
        for count in 0..sample.needed {
            let broken = sample.read(sample.events[..count].concat().as_bytes()).unwrap_err();
            assert!(matches!(broken, Broken::CutOff(_)), "{}, {count} events: {broken:?}", sample.name);
        }
        let needed = sample.events[..sample.needed].concat();
        for end in 0..needed.trim_end().len() {
            assert!(sample.read(&needed.as_bytes()[..end]).is_err(), "{}: {end} bytes", sample.name);
        }
    }
}

#[test]
fn what_follows_the_end_changes_nothing() {
    for sample in samples().into_iter().filter(|sample| sample.provider != Provider::Gemini) {
        let body = sample.events[..sample.needed].concat() + &sample.event("{broken") + &sample.event(r#"{"error":1}"#);
        sample.check(&[body.as_bytes()]);
    }
}

#[test]
fn a_malformed_event_spoils_the_whole() {
    let unfit = ["{", "nonsense", "\"a text\"", "[1]", "{\"a\":1}{\"a\":1}"];
    for sample in samples() {
        for count in 0..sample.needed {
            for event in unfit {
                // Only Anthropic's and Responses' events are told apart by a name within them.
                let typed = matches!(sample.provider, Provider::Anthropic | Provider::OpenaiResponses);
                if typed && matches!(event, "\"a text\"" | "[1]") {
                    continue;
                }
                let mut events = sample.events.clone();
                events.insert(count, sample.event(event));
                let broken = sample.read(events.concat().as_bytes()).unwrap_err();
                assert!(matches!(broken, Broken::Malformed { .. }), "{}, {event} at {count}: {broken:?}", sample.name);
            }
            let mut bytes = sample.events[..count].concat().into_bytes();
            bytes.extend(sample.event("{\"a\":\"\u{1}\"}").bytes().map(|byte| if byte == 1 { 0xff } else { byte }));
            let broken = sample.read(&bytes).unwrap_err();
            assert!(matches!(broken, Broken::Malformed { .. }), "{}: {broken:?}", sample.name);
        }
    }
}

#[test]
fn an_error_in_a_stream_is_a_refusal_wherever_it_comes() {
    let event = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    for sample in samples() {
        for count in 0..sample.needed {
            let mut events = sample.events.clone();
            events.insert(count, sample.event(event));
            let Err(Broken::Refused { body, begun }) = sample.read(events.concat().as_bytes()) else {
                panic!("{}, {count}", sample.name)
            };
            assert_eq!((body.as_str(), begun), (event, count > 0), "{}", sample.name);
        }
    }
    for (provider, text) in [
        (Provider::Openai, "data: {\"error\":{\"message\":\"m\",\"code\":502}}\n\n"),
        (Provider::OpenaiResponses, "event: error\ndata: {\"type\":\"error\",\"code\":\"x\",\"message\":\"m\"}\n\n"),
        (Provider::Anthropic, "event: error\ndata: Internal server error\n\n"),
        (Provider::Gemini, "data: {\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\"}}\n\n"),
    ] {
        let broken = read(provider, Framing::Sse, &[text.as_bytes()]).1.unwrap_err();
        assert!(matches!(&broken, Broken::Refused { begun: false, .. }), "{broken:?}");
    }
    let broken = read(Provider::Ollama, Framing::Lines, &[b"{\"error\":\"no memory\"}\n"]).1.unwrap_err();
    assert!(matches!(&broken, Broken::Refused { body, .. } if body.contains("no memory")), "{broken:?}");
}

#[test]
fn a_broken_connection_is_told_apart_from_an_end() {
    for sample in samples() {
        for count in 0..=sample.events.len() {
            let begin = sample.events[..count].concat();
            let bytes = stream::iter([Ok(Bytes::from(begin)), Err(ReadError::Silent(7))]);
            let assembler = Assembler::new(sample.provider);
            let answer = assemble(assembler, sample.framing, bytes, &mut |_| {}).now_or_never().unwrap();
            // Gemini has no last event: its answer ends with its body.
            if count >= sample.needed && sample.provider != Provider::Gemini {
                assert_eq!(answer.unwrap(), sample.answer);
            } else {
                let broken = answer.unwrap_err();
                assert!(matches!(broken, Broken::Read(ReadError::Silent(7))), "{}: {broken:?}", sample.name);
            }
        }
    }
}

#[test]
fn each_framing_has_its_content_types() {
    for (text, framing) in [
        ("text/event-stream", Some(Framing::Sse)),
        ("Text/Event-Stream; charset=utf-8", Some(Framing::Sse)),
        ("application/x-ndjson", Some(Framing::Lines)),
        ("application/json; charset=utf-8", None),
        ("", None),
    ] {
        assert_eq!(Framing::of(text), framing, "{text}");
    }
}
