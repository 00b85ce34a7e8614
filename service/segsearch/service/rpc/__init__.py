"""The service over gRPC: converts, calls the library, converts back. `rest` is its twin over HTTP."""
