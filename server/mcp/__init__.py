"""MCP's surface: the endpoint, the sessions of MCP clients, their tools and progress messages."""
