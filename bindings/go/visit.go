package otelcore

// #include <stdint.h>
import "C"

import "runtime/cgo"

//export ogVisit
func ogVisit(handle C.uintptr_t, item C.uintptr_t) C.int32_t {
	return C.int32_t(visit(uintptr(handle), uintptr(item)))
}

// visit calls the function of the edit with this handle.
func visit(handle, item uintptr) Keep {
	v, ok := cgo.Handle(handle).Value().(*visitor)
	if !ok {
		return SkipItem
	}
	return v.call(item)
}
