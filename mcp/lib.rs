//! The MCP client of abide: servers from the files people already have, tools with effect and policy. It never decides whether a call is repeated: the engine does.
