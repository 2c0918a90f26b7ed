package bot

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

func TestManifestFileIsWhatTheProgramPrints(t *testing.T) {
	file, err := os.ReadFile("../manifest.yml")
	if err != nil {
		t.Fatal(err)
	}
	if string(file) != Manifest() {
		t.Error("manifest.yml differs; run go run ./cmd/auditbot manifest > manifest.yml")
	}
}

func TestManifestIsWhatSlackTakes(t *testing.T) {
	root, err := filepath.Abs("../../shared/schema/schemas/manifest.schema.2.0.0.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root); err != nil {
		t.Skip("Slack's schema is not here: ", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseRegexpEngine(func(pattern string) (jsonschema.Regexp, error) {
		compiled, err := regexp.Compile(pattern)
		if err != nil { // lookaheads, for domains that we do not have
			return regexp.MustCompile(""), nil
		}
		return compiled, nil
	})
	schema, err := compiler.Compile(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(manifestTree(t)); err != nil {
		t.Error(err)
	}
}

// manifestTree is the manifest as JSON is decoded, which schemas are for.
func manifestTree(t *testing.T) any {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal([]byte(Manifest()), &tree); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestEveryScopeHasAUse(t *testing.T) {
	var scopes []string
	for _, g := range grants {
		if len(g.methods)+len(g.events) == 0 || g.why == "" {
			t.Errorf("%s is asked for without a use", g.scope)
		}
		if slices.Contains(scopes, g.scope) {
			t.Errorf("%s is there twice", g.scope)
		}
		scopes = append(scopes, g.scope)
	}
}
