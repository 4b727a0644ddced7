// Checks a dashboard against Grafana's own schema: the types that Grafana publishes, with the rules that
// its JSON has to keep to. An unknown field, one that is missing, or one of a wrong type ends it with code 1.
//
//	go run . ../../etc/grafana/kontiki.json
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	for _, path := range os.Args[1:] {
		panels, err := check(path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s:\n%v\n", path, err)
			os.Exit(1)
		}
		fmt.Printf("%s: %d panels, as Grafana's schema has them\n", path, panels)
	}
}

func check(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var strict, board dashboard.Dashboard
	if err := real(strict.UnmarshalJSONStrict(text)); err != nil {
		return 0, err
	}
	if err := json.Unmarshal(text, &board); err != nil {
		return 0, err
	}
	if err := real(board.Validate()); err != nil {
		return 0, err
	}
	panels := 0
	for _, panel := range board.Panels {
		if panel.Panel != nil {
			panels++
		}
		if panel.RowPanel != nil {
			panels += len(panel.RowPanel.Panels)
		}
	}
	if panels == 0 {
		return 0, errors.New("it has no panel")
	}
	return panels, nil
}

// The library returns an empty list of errors where there is none.
func real(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}
