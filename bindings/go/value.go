package otelcore

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"
)

// The fields of AnyValue in OTLP, and of the messages in it.
const (
	stringValue = 1
	boolValue   = 2
	intValue    = 3
	doubleValue = 4
	arrayValue  = 5
	mapValue    = 6
	bytesValue  = 7

	listElement = 1
	mapEntry    = 1
	entryKey    = 1
	entryValue  = 2
)

// The wire types of protobuf.
const (
	varintType  = 0
	fixed64Type = 1
	bytesType   = 2
	fixed32Type = 5
)

// maxNesting is how deep lists and maps may contain each other, as in telemetry that is received.
const maxNesting = 100

// appendList appends the content of an ArrayValue.
func appendList(out []byte, list []any, depth int) ([]byte, error) {
	for _, element := range list {
		raw, err := appendValue(nil, element, depth+1)
		if err != nil {
			return nil, err
		}
		out = appendField(out, listElement, raw)
	}
	return out, nil
}

// appendMap appends the content of a KeyValueList, its entries in the order of their keys.
func appendMap(out []byte, entries map[string]any, depth int) ([]byte, error) {
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		if !utf8.ValidString(key) {
			return nil, notUTF8()
		}
		raw, err := appendValue(nil, entries[key], depth+1)
		if err != nil {
			return nil, err
		}
		out = appendField(out, mapEntry, appendField(appendField(nil, entryKey, []byte(key)), entryValue, raw))
	}
	return out, nil
}

// appendValue appends the content of an AnyValue.
func appendValue(out []byte, value any, depth int) ([]byte, error) {
	if depth > maxNesting {
		return nil, &Error{Code: InvalidArgument, Message: fmt.Sprintf("the value is nested more than %d deep", maxNesting)}
	}
	switch value := value.(type) {
	case nil:
		return out, nil
	case string:
		if !utf8.ValidString(value) {
			return nil, notUTF8()
		}
		return appendField(out, stringValue, []byte(value)), nil
	case bool:
		if value {
			return append(out, boolValue<<3|varintType, 1), nil
		}
		return append(out, boolValue<<3|varintType, 0), nil
	case int:
		return binary.AppendUvarint(append(out, intValue<<3|varintType), uint64(value)), nil
	case int64:
		return binary.AppendUvarint(append(out, intValue<<3|varintType), uint64(value)), nil
	case float64:
		return binary.LittleEndian.AppendUint64(append(out, doubleValue<<3|fixed64Type), math.Float64bits(value)), nil
	case []byte:
		return appendField(out, bytesValue, value), nil
	case []any:
		list, err := appendList(nil, value, depth)
		return appendField(out, arrayValue, list), err
	case map[string]any:
		entries, err := appendMap(nil, value, depth)
		return appendField(out, mapValue, entries), err
	default:
		return nil, noValue(value)
	}
}

// appendField appends a field of bytes, whose number is below 16.
func appendField(out []byte, number byte, content []byte) []byte {
	out = binary.AppendUvarint(append(out, number<<3|bytesType), uint64(len(content)))
	return append(out, content...)
}

func notUTF8() error { return &Error{Code: InvalidArgument, Message: "the text is not UTF-8"} }

func noValue(value any) error {
	return &Error{Code: InvalidArgument, Message: fmt.Sprintf("a value of type %T can't be set", value)}
}

// A messageField is a field of a message: bits of the scalar types, content of the others.
type messageField struct {
	number  uint64
	bits    uint64
	content []byte
}

// messageFields calls each for the fields of a message that the library has checked; what can't be read ends it.
func messageFields(raw []byte, each func(messageField)) {
	for len(raw) > 0 {
		tag, n := binary.Uvarint(raw)
		if n <= 0 {
			return
		}
		raw = raw[n:]
		f := messageField{number: tag >> 3}
		switch tag & 7 {
		case varintType:
			if f.bits, n = binary.Uvarint(raw); n <= 0 {
				return
			}
		case fixed64Type:
			if n = 8; len(raw) < n {
				return
			}
			f.bits = binary.LittleEndian.Uint64(raw)
		case fixed32Type:
			if n = 4; len(raw) < n {
				return
			}
			f.bits = uint64(binary.LittleEndian.Uint32(raw))
		case bytesType:
			length, prefix := binary.Uvarint(raw)
			if prefix <= 0 || length > uint64(len(raw)-prefix) {
				return
			}
			n = prefix + int(length)
			f.content = raw[prefix:n]
		default:
			return
		}
		raw = raw[n:]
		each(f)
	}
}

// readList reads an ArrayValue.
func readList(raw []byte) []any {
	list := []any{}
	messageFields(raw, func(f messageField) {
		if f.number == listElement {
			list = append(list, readValue(f.content))
		}
	})
	return list
}

// readMap reads a KeyValueList. Of entries with the same key, which are not valid, the last one counts.
func readMap(raw []byte) map[string]any {
	entries := map[string]any{}
	messageFields(raw, func(f messageField) {
		if f.number != mapEntry {
			return
		}
		var key string
		var value any
		messageFields(f.content, func(f messageField) {
			switch f.number {
			case entryKey:
				key = string(f.content)
			case entryValue:
				value = readValue(f.content)
			}
		})
		entries[key] = value
	})
	return entries
}

// readValue reads an AnyValue. The library has checked how deep it is nested.
func readValue(raw []byte) any {
	var value any
	messageFields(raw, func(f messageField) {
		switch f.number {
		case stringValue:
			value = string(f.content)
		case boolValue:
			value = f.bits != 0
		case intValue:
			value = int64(f.bits)
		case doubleValue:
			value = math.Float64frombits(f.bits)
		case arrayValue:
			value = readList(f.content)
		case mapValue:
			value = readMap(f.content)
		case bytesValue:
			value = slices.Clone(f.content)
		}
	})
	return value
}
