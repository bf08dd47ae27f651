//! What is talked about: every kind of request that both can make. It never looks at what was sent.

use abide_llm::{Output, Part, Provider, Source, ToolChoice, ToolDecl};
use genai::chat::{ContentPart, JsonSpec, MessageContent, Tool};
use serde_json::{Value, json};

use crate::replies::{calling, saying, streaming};
use crate::talk::{Bench, Subject, Talk};

const QUESTION: &str = "What is the capital of France?";
/// A picture of one white point.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg==";
const PDF: &str = "JVBERi0xLjQKJSVFT0YK";

/// Has every conversation with this model.
pub(crate) async fn all(subject: &Subject, bench: &mut Bench) -> Result<(), String> {
    let said = saying(subject.wire, "Paris.");
    for mut talk in
        [plain(subject), bare(subject), sampled(subject), auto(subject), required(subject), formatted(subject)]
    {
        talk.go(bench, &said).await?;
    }
    for mut talk in
        [loosely_formatted(subject), formatted_with_tools(subject), without_arguments(subject), image(subject)]
    {
        talk.go(bench, &said).await?;
    }
    if subject.wire != Provider::Ollama {
        // It has a place for neither: abide refuses, genai leaves them out.
        for mut talk in [image_by_address(subject), document(subject)] {
            talk.go(bench, &said).await?;
        }
    }
    let mut talk = plain(subject);
    (talk.name, talk.stream, talk.options) = ("streamed", true, talk.options.with_capture_usage(true));
    talk.go(bench, &streaming(subject.wire, "Paris.")).await?;
    another(subject, bench).await?;
    called(subject, bench).await
}

fn plain(subject: &Subject) -> Talk<'_> {
    let mut talk = Talk::new(subject, "plain");
    talk.ask(QUESTION);
    talk
}

/// Without instructions.
fn bare(subject: &Subject) -> Talk<'_> {
    let mut talk = Talk::new(subject, "bare");
    (talk.prompt.system, talk.chat.system) = (None, None);
    talk.ask(QUESTION);
    talk
}

fn sampled(subject: &Subject) -> Talk<'_> {
    let mut talk = Talk::new(subject, "sampled");
    talk.ask(QUESTION);
    (talk.prompt.max_tokens, talk.prompt.temperature) = (Some(200), Some(0.25));
    talk.options = talk.options.with_max_tokens(200).with_temperature(0.25);
    talk
}

fn with_tools<'a>(subject: &'a Subject, name: &'static str) -> Talk<'a> {
    let mut talk = Talk::new(subject, name);
    talk.ask("How warm is it in Paris, and what time is it there?");
    let city = json!({"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "Its name."}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}});
    let zone = json!({"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"], "additionalProperties": false});
    for (name, description, schema) in
        [("weather", "The weather in a city.", city), ("clock", "The time in a zone.", zone)]
    {
        let theirs = Tool::new(name).with_description(description).with_schema(schema.clone());
        talk.chat = talk.chat.append_tool(theirs);
        let ours = ToolDecl { name: name.to_owned(), description: description.to_owned(), input_schema: schema };
        talk.prompt.tools.push(ours);
    }
    choose(&mut talk, ToolChoice::Auto);
    talk
}

fn choose(talk: &mut Talk<'_>, choice: ToolChoice) {
    talk.prompt.tool_choice = choice;
    talk.options.tool_choice = Some(match choice {
        ToolChoice::Auto => genai::chat::ToolChoice::Auto,
        ToolChoice::None => genai::chat::ToolChoice::None,
        ToolChoice::Required => genai::chat::ToolChoice::Required,
    });
}

fn auto(subject: &Subject) -> Talk<'_> {
    with_tools(subject, "tools")
}

fn required(subject: &Subject) -> Talk<'_> {
    let mut talk = with_tools(subject, "required");
    choose(&mut talk, ToolChoice::Required);
    talk
}

fn schema() -> Value {
    json!({"type": "object", "additionalProperties": false, "required": ["city", "people"], "properties": {
        "city": {"type": "string"}, "people": {"type": "array", "items": {"type": "object", "additionalProperties": false,
            "required": ["name", "age"], "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}}}})
}

fn format(talk: &mut Talk<'_>) {
    talk.prompt.output = Some(Output { name: "answer".to_owned(), schema: schema() });
    talk.options.response_format = Some(JsonSpec::new("answer", schema()).into());
}

fn formatted(subject: &Subject) -> Talk<'_> {
    let mut talk = Talk::new(subject, "schema");
    talk.ask("Who lives in Paris?");
    format(&mut talk);
    talk
}

/// A schema that does not fit everybody's strict mode: a property may be left out, others are allowed, and a number has bounds.
fn loosely_formatted(subject: &Subject) -> Talk<'_> {
    let mut talk = Talk::new(subject, "schema-loose");
    talk.ask("Who lives in Paris?");
    let properties = json!({"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150}});
    let schema = json!({"type": "object", "required": ["name"], "properties": properties});
    talk.prompt.output = Some(Output { name: "answer".to_owned(), schema: schema.clone() });
    talk.options.response_format = Some(JsonSpec::new("answer", schema).into());
    talk
}

/// A tool that takes nothing.
fn without_arguments(subject: &Subject) -> Talk<'_> {
    let mut talk = Talk::new(subject, "no-arguments");
    talk.ask("Ping.");
    let schema = json!({"type": "object", "properties": {}});
    talk.chat = talk.chat.append_tool(Tool::new("ping").with_description("Pings.").with_schema(schema.clone()));
    talk.prompt.tools.push(ToolDecl {
        name: "ping".to_owned(),
        description: "Pings.".to_owned(),
        input_schema: schema,
    });
    choose(&mut talk, ToolChoice::Auto);
    talk
}

fn formatted_with_tools(subject: &Subject) -> Talk<'_> {
    let mut talk = with_tools(subject, "schema-tools");
    format(&mut talk);
    talk
}

fn shown<'a>(subject: &'a Subject, name: &'static str, ours: Part, theirs: ContentPart) -> Talk<'a> {
    const ASKED: &str = "What is this?";
    let mut talk = Talk::new(subject, name);
    talk.show(vec![ASKED.into(), ours], MessageContent::from_parts(vec![ContentPart::from_text(ASKED), theirs]));
    talk
}

fn image(subject: &Subject) -> Talk<'_> {
    let ours = Part::Image { mime: "image/png".to_owned(), source: Source::Base64(PNG.to_owned()) };
    shown(subject, "image", ours, ContentPart::from_binary_base64("image/png", PNG, None))
}

fn image_by_address(subject: &Subject) -> Talk<'_> {
    const URL: &str = "https://example.org/a.png";
    let ours = Part::Image { mime: "image/png".to_owned(), source: Source::Url(URL.to_owned()) };
    shown(subject, "image-url", ours, ContentPart::from_binary_url("image/png", URL, None))
}

fn document(subject: &Subject) -> Talk<'_> {
    let (mime, name) = ("application/pdf".to_owned(), "a.pdf".to_owned());
    let theirs = ContentPart::from_binary_base64(&*mime, PDF, Some(name.clone()));
    let ours = Part::Document { mime, name, source: Source::Base64(PDF.to_owned()) };
    shown(subject, "document", ours, theirs)
}

/// What another model has called is told to this one.
async fn another(subject: &Subject, bench: &mut Bench) -> Result<(), String> {
    let mut talk = with_tools(subject, "another");
    talk.another_called();
    talk.results(&["21 degrees"]);
    talk.go(bench, &saying(subject.wire, "It is warm.")).await
}

/// Two calls side by side, their results, another question, and a conclusion without tools.
async fn called(subject: &Subject, bench: &mut Bench) -> Result<(), String> {
    let mut talk = with_tools(subject, "calls");
    talk.go(bench, &calling(subject.wire)).await?;
    talk.name = "results";
    talk.results(&["21 degrees", "{\"time\": \"12:00\"}"]);
    talk.go(bench, &saying(subject.wire, "It is noon and warm.")).await?;
    talk.name = "next";
    talk.ask("And tomorrow?");
    talk.go(bench, &saying(subject.wire, "Who knows.")).await?;
    talk.name = "conclusion";
    talk.ask("Sum it up.");
    choose(&mut talk, ToolChoice::None);
    talk.go(bench, &saying(subject.wire, "Warm.")).await
}
