package engine

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAnInspectionFindsEverythingInOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	owner, client := openTest(t, dir), openTest(t, dir)
	fill(t, owner)
	for _, e := range []*Engine{owner, client} {
		i, err := e.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i.Parts != 3+len(bucketConfigs) || i.Missing != nil || i.Plain != nil || i.OlderKeys != 0 {
			t.Errorf("%+v", i)
		}
		if i.Values < 4 || i.Bytes < i.Evidence || i.Evidence == 0 {
			t.Errorf("it holds %d values in %d bytes, %d of them results", i.Values, i.Bytes, i.Evidence)
		}
	}
}

func TestAnInspectionNamesWhatIsMissingAndWhatIsPlain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	if err := e.js.DeleteStream(t.Context(), "KV_auditbot_waiting"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, dataDir, "$G", "streams", "KV_auditbot_tokens", serverKeyFile)); err != nil {
		t.Fatal(err)
	}
	i, err := e.Inspect(t.Context())
	if err != nil || !slices.Equal(i.Missing, []string{"KV_auditbot_waiting"}) || !slices.Equal(i.Plain, []string{"KV_auditbot_tokens"}) {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestAnInspectionCountsTheKeysBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shut(t, openTest(t, dir))
	e := openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey})
	if i, err := e.Inspect(t.Context()); err != nil || i.OlderKeys != 1 {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestAnInspectionOfAClosedEngineFails(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	shut(t, e)
	if i, err := e.Inspect(t.Context()); err == nil {
		t.Errorf("%+v", i)
	}
}

func TestAFolderIsNewUntilThereIsData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if isNew, err := IsNew(dir); !isNew || err != nil {
		t.Errorf("IsNew = %v, %v", isNew, err)
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("looking made the folder")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if isNew, err := IsNew(dir); !isNew || err != nil {
		t.Errorf("an empty one: %v, %v", isNew, err)
	}
	shut(t, openTest(t, dir))
	if isNew, err := IsNew(dir); isNew || err != nil {
		t.Errorf("one with data: %v, %v", isNew, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if isNew, err := IsNew(file); isNew || err == nil {
		t.Errorf("a file in its place: %v, %v", isNew, err)
	}
}
