//go:build !otelcore_system

package otelcore

// The archive and the header it belongs to; scripts/go-lib puts them there.

// #cgo CFLAGS: -I${SRCDIR}/lib/include
// #cgo linux,amd64 LDFLAGS: ${SRCDIR}/lib/linux_amd64/libotelcore.a -ldl -lm -lpthread
// #cgo linux,arm64 LDFLAGS: ${SRCDIR}/lib/linux_arm64/libotelcore.a -ldl -lm -lpthread
import "C"
