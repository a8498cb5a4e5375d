//go:build tools

// Package tools pins h2spec, which checks a server against the RFCs of HTTP/2 and HPACK.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
