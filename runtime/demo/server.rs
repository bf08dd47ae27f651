//! The demo's MCP server: a real one, over stdio, with four small tools on the files of one folder. It never leaves that
//! folder, and never asks abide what happened: it keeps its own record of the calls that it has executed.

use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt as _};
use serde_json::{Map, Value, json};

use super::ledger::{Ledger, ToolCalled, now_ms};

/// The record of executed calls, in the server's folder.
pub(super) const CALLS: &str = ".calls.jsonl";

/// Where `add_note` writes.
const NOTES: &str = "notes.md";

/// Which call, counted from 1, the server records twice: how a test lets the demo fail. (No tool's name: what a server gets in
/// its environment is taken for a secret if it is as long as one.)
pub(super) const DOUBLE: &str = "ABIDE_DEMO_SERVER_DOUBLE";

/// The key of a call's `_meta` under which abide sends the step's idempotency key.
const KEY: &str = "io.abide/idempotency-key";

/// The most bytes of a file that are read.
const MOST_BYTES: u64 = 64 * 1024;

/// Serves the folder on stdin and stdout until stdin ends; the process's exit code.
pub(crate) async fn serve(folder: &Path) -> u8 {
    let served = async {
        let double = std::env::var(DOUBLE).ok().and_then(|number| number.parse().ok());
        let server = DemoServer::open(folder, double)?;
        let service = server.serve(rmcp::transport::stdio()).await.map_err(io::Error::other)?;
        service.waiting().await.map_err(io::Error::other)
    };
    match served.await {
        Ok(_) => 0,
        Err(error) => {
            let folder = folder.display();
            eprintln!("abide demo-server: cannot serve {folder}: {error}; it is started by `abide demo`");
            8
        }
    }
}

struct DemoServer {
    folder: PathBuf,
    /// Locked, as calls come side by side.
    ledger: Mutex<Ledger>,
    double: Option<usize>,
}

impl DemoServer {
    fn open(folder: &Path, double: Option<usize>) -> io::Result<Self> {
        let folder = folder.canonicalize()?;
        Ok(Self { ledger: Mutex::new(Ledger::new(folder.join(CALLS))), folder, double })
    }

    /// Records the call, then makes it. An `Err` is for the model to read.
    fn call(&self, tool: &str, arguments: &Map<String, Value>, key: Option<&str>) -> Result<String, String> {
        let call = ToolCalled {
            at_ms: now_ms(),
            tool: tool.to_owned(),
            arguments: Value::Object(arguments.clone()),
            key: key.map(str::to_owned),
        };
        self.record(&call).map_err(|error| format!("the call cannot be recorded, so it was not made: {error}"))?;
        let text = |name: &str| {
            let value = arguments.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
            value.ok_or_else(|| format!("`{tool}` needs a `{name}`"))
        };
        match tool {
            "list_files" => self.list(),
            "read_file" => self.read(text("path")?),
            "add_note" => self.note(text("text")?),
            _ => self.notes(),
        }
    }

    fn record(&self, call: &ToolCalled) -> io::Result<()> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let number = ledger.read::<ToolCalled>()?.len() + 1;
        if self.double == Some(number) {
            ledger.append(call)?;
        }
        ledger.append(call)
    }

    fn list(&self) -> Result<String, String> {
        let failed = |error: io::Error| format!("the folder cannot be listed: {error}");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && entry.file_type().map_err(failed)?.is_file() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names.join("\n"))
    }

    fn read(&self, name: &str) -> Result<String, String> {
        let failed = |error: io::Error| format!("`{name}` cannot be read: {error}");
        let path = self.confined(name)?;
        let mut bytes = Vec::new();
        std::fs::File::open(path).map_err(failed)?.take(MOST_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn note(&self, text: &str) -> Result<String, String> {
        let line = format!("- {}\n", text.split_whitespace().collect::<Vec<_>>().join(" "));
        let file = std::fs::OpenOptions::new().append(true).create(true).open(self.folder.join(NOTES));
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|error| format!("the note was not kept: {error}"))?;
        Ok(format!("noted in {NOTES}"))
    }

    fn notes(&self) -> Result<String, String> {
        match std::fs::read_to_string(self.folder.join(NOTES)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("no notes yet".to_owned()),
            notes => notes.map_err(|error| format!("the notes cannot be read: {error}")),
        }
    }

    /// The file of this name, if it lies in the folder, also after links were followed.
    fn confined(&self, name: &str) -> Result<PathBuf, String> {
        let outside = || format!("`{name}` is not a file of this folder: `list_files` names them");
        let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || name.starts_with('.') {
            return Err(outside());
        }
        let path = self.folder.join(name).canonicalize().map_err(|_| outside())?;
        if path.starts_with(&self.folder) { Ok(path) } else { Err(outside()) }
    }
}

impl ServerHandler for DemoServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("abide-demo", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if !tools().iter().any(|tool| tool.name == request.name) {
            return Err(ErrorData::invalid_params(format!("no tool `{}`", request.name), None));
        }
        let own = request.meta.as_ref().and_then(|meta| meta.get(KEY));
        let key = own.or_else(|| context.meta.get(KEY)).and_then(Value::as_str);
        let result = match self.call(&request.name, &request.arguments.unwrap_or_default(), key) {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
        };
        Ok(result.into())
    }
}

fn tools() -> Vec<Tool> {
    let reads = || ToolAnnotations::new().read_only(true).open_world(false);
    let writes = ToolAnnotations::new().read_only(false).destructive(false).idempotent(false).open_world(false);
    let declare = |name: &'static str, about: &'static str, argument: Option<&str>, hints: ToolAnnotations| {
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), argument.map_or(json!({}), |name| json!({name: {"type": "string"}})));
        schema.insert("required".to_owned(), argument.map_or(json!([]), |name| json!([name])));
        Tool::new(name, about, schema).with_annotations(hints)
    };
    vec![
        declare("list_files", "The names of the files, one a line.", None, reads()),
        declare("read_file", "The text of a file.", Some("path"), reads()),
        declare("add_note", "Adds a line to the notes. Each call adds one more.", Some("text"), writes),
        declare("list_notes", "The notes, one a line.", None, reads()),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rmcp::model::{ClientCapabilities, ClientConfig};

    use super::*;

    fn files() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.txt"), "Bees dance.").unwrap();
        std::fs::write(folder.path().join("a.txt"), "Ants march.").unwrap();
        folder
    }

    fn recorded(folder: &tempfile::TempDir) -> Vec<ToolCalled> {
        Ledger::new(folder.path().join(CALLS)).read().unwrap()
    }

    fn arguments(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn its_tools_work_on_the_folder_and_are_recorded() {
        let folder = files();
        let server = DemoServer::open(folder.path(), None).unwrap();
        let call = |tool, value| server.call(tool, &arguments(&value), Some("key"));
        assert_eq!(call("list_notes", json!({})).unwrap(), "no notes yet");
        assert_eq!(call("list_files", json!({})).unwrap(), "a.txt\nb.txt");
        assert_eq!(call("read_file", json!({"path": "a.txt"})).unwrap(), "Ants march.");
        call("add_note", json!({"text": "one\nline"})).unwrap();
        assert_eq!(call("list_notes", json!({})).unwrap(), "- one line\n");
        assert!(call("add_note", json!({"text": " "})).unwrap_err().contains("needs a `text`"));
        let calls = recorded(&folder);
        assert_eq!(calls.len(), 6);
        assert_eq!((calls[2].arguments["path"].as_str(), calls[2].key.as_deref()), (Some("a.txt"), Some("key")));
    }

    #[test]
    fn it_does_not_leave_its_folder() {
        let folder = files();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let server = DemoServer::open(&inner, None).unwrap();
        let absolute = folder.path().join("a.txt");
        for path in ["../a.txt", absolute.to_str().unwrap(), ".calls.jsonl", "absent.txt", "./../a.txt"] {
            let error = server.call("read_file", &arguments(&json!({"path": path})), None).unwrap_err();
            assert!(error.contains("not a file of this folder"), "{path}: {error}");
        }
    }

    #[test]
    fn a_test_may_let_it_count_twice() {
        let folder = files();
        let server = DemoServer::open(folder.path(), Some(2)).unwrap();
        for tool in ["list_files", "add_note", "list_notes"] {
            server.call(tool, &arguments(&json!({"text": "x"})), None).unwrap();
        }
        let calls = recorded(&folder);
        assert_eq!(
            calls.iter().map(|call| call.tool.as_str()).collect::<Vec<_>>(),
            ["list_files", "add_note", "add_note", "list_notes"]
        );
        assert_eq!(server.notes().unwrap(), "- x\n");
    }

    #[tokio::test]
    async fn a_client_sees_its_tools_and_their_annotations() {
        let folder = files();
        let server = DemoServer::open(folder.path(), None).unwrap();
        let (near, far) = tokio::io::duplex(1 << 16);
        let serving = tokio::spawn(async move { server.serve(far).await.unwrap().waiting().await });
        let client = ClientConfig::new(ClientCapabilities::default(), Implementation::new("test", "1"))
            .serve(near)
            .await
            .unwrap();
        let tools = client.list_all_tools().await.unwrap();
        let read_only = |name: &str| {
            tools.iter().find(|tool| tool.name == name).unwrap().annotations.as_ref().unwrap().read_only_hint
        };
        assert_eq!((read_only("read_file"), read_only("add_note")), (Some(true), Some(false)));
        let mut call = CallToolRequestParams::new("read_file").with_arguments(arguments(&json!({"path": "b.txt"})));
        call.meta = serde_json::from_value(json!({KEY: "k1"})).unwrap();
        let result = client.call_tool(call).await.unwrap();
        assert_eq!(serde_json::to_value(result).unwrap().pointer("/content/0/text"), Some(&json!("Bees dance.")));
        assert!(client.call_tool(CallToolRequestParams::new("rm")).await.is_err());
        client.cancel().await.unwrap();
        serving.await.unwrap().unwrap();
        let calls = recorded(&folder);
        assert_eq!(calls.iter().map(|call| call.key.as_deref()).collect::<Vec<_>>(), [Some("k1")]);
    }
}
