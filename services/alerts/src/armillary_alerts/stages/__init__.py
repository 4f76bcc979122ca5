"""The stages of the stream, each a member of a consumer group."""
