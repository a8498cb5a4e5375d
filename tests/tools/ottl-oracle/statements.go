package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
)

// A statement or condition of the end-to-end tests.
type statement struct {
	Test      string `json:"test"`
	Statement string `json:"statement"`
}

// The literals under the keys `statement` and `condition` in the tables of a Go test file.
func statementsOf(path string) ([]byte, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return nil, err
	}
	found := []statement{}
	for _, declaration := range file.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		ast.Inspect(function, func(node ast.Node) bool {
			pair, ok := node.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			key, ok := pair.Key.(*ast.Ident)
			if !ok || key.Name != "statement" && key.Name != "condition" {
				return true
			}
			if text, ok := textOf(pair.Value); ok {
				found = append(found, statement{function.Name.Name, text})
			}
			return true
		})
	}
	return json.Marshal(map[string][]statement{"statements": found})
}

// A string literal, or a sum of them.
func textOf(expression ast.Expr) (string, bool) {
	switch e := expression.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		left, isLeft := textOf(e.X)
		right, isRight := textOf(e.Y)
		return left + right, isLeft && isRight
	}
	return "", false
}
