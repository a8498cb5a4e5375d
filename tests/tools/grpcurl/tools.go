//go:build tools

// Package tools pins grpcurl, a gRPC client on the command line.
package tools

import _ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
