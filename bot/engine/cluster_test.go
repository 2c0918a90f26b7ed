package engine

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"auditbot/bot/engine/clustertest"
)

// openAt opens an engine on a cluster, or through one of its servers.
func openAt(t testing.TB, url string) *Engine {
	t.Helper()
	return openConfig(t, at(t, url))
}

func at(t testing.TB, url string) Config {
	return Config{Dir: t.TempDir(), Key: testKey, Cluster: Cluster{URL: url}, AckWait: crashAckWait}
}

// oneCluster has room for one test that runs three servers: the others in this
// package measure time, and have the processors too.
var oneCluster = make(chan struct{}, 1)

func startCluster(t testing.TB) *clustertest.Cluster {
	t.Helper()
	oneCluster <- struct{}{}
	t.Cleanup(func() { <-oneCluster })
	return clustertest.Start(t)
}

// streamsAt are the configurations of all streams of a cluster, by name.
func streamsAt(t testing.TB, url string) map[string]jetstream.StreamConfig {
	t.Helper()
	all := map[string]jetstream.StreamConfig{}
	list := jetStreamAt(t, url).ListStreams(t.Context())
	for info := range list.Info() {
		all[info.Config.Name] = info.Config
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func jetStreamAt(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestReplicasShareACluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	var out lockedBuffer
	config := at(t, c.URL())
	config.Log = slog.New(slog.NewTextHandler(&out, nil))
	one, two := openConfig(t, config), openAt(t, c.URL())
	if one.Owner() || two.Owner() || !one.Clustered() {
		t.Error("somebody owns the cluster")
	}
	fill(t, one)
	wantFilled(t, two)
	for name, config := range streamsAt(t, c.URL()) {
		if config.Replicas != replicas || config.AllowDirect || config.Duplicates < 30*time.Second {
			t.Errorf("%s has %+v", name, config)
		}
	}
	if err := two.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := one.File(t.Context(), "not done", nil); err != nil {
		t.Error(err)
	}
	if l, err := two.Load(t.Context()); err != nil || l.Items == 0 || l.Oldest.IsZero() || l.Results == 0 {
		t.Errorf("the load is %+v, %v", l, err)
	}
	if strings.Contains(out.String(), "level=WARN") {
		t.Errorf("the log is\n%s", out.String())
	}
	t.Run("the largest value", func(t *testing.T) { largestValue(t, c) })
	t.Run("an inspection", func(t *testing.T) { inspectCluster(t, two) })
}

// Values of the largest size go through all servers, where an answer is in JSON
// and longer than the value.
func largestValue(t *testing.T, c *clustertest.Cluster) {
	value := bytes.Repeat([]byte{0xfe}, MaxValue)
	for i := range c.Nodes() { // one of them leads
		e := openAt(t, c.NodeURL(i))
		key := strings.Repeat("k", maxID-1) + fmt.Sprint(i)
		if _, err := e.Bucket(Tokens).Create(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
		if got, err := get(e.Bucket(Tokens), t.Context(), key); !bytes.Equal(got, value) || err != nil {
			t.Errorf("the value has %d bytes, %v", len(got), err)
		}
	}
}

func TestReplicasThatStartTogetherMakeOneSetOfStreams(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	engines := make([]*Engine, 3)
	var starting sync.WaitGroup
	for i := range engines {
		config := at(t, c.NodeURL(i))
		starting.Go(func() {
			var err error
			if engines[i], err = Open(t.Context(), config); err != nil {
				t.Errorf("replica %d: %v", i, err)
			}
		})
	}
	starting.Wait()
	if t.Failed() {
		return
	}
	for i, e := range engines {
		t.Cleanup(func() { e.Close() })
		if fresh, err := e.File(t.Context(), "item", []byte("an item")); fresh != (i == 0) || err != nil {
			t.Errorf("replica %d: File = %v, %v", i, fresh, err)
		}
	}
	if all := streamsAt(t, c.URL()); len(all) != 4+len(bucketConfigs) {
		t.Errorf("there are %d streams", len(all))
	}
}

func TestASingleServerIsWarnedOf(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	for range 2 { // when the streams are created, and later
		var out lockedBuffer
		config := at(t, c.URL())
		config.Log = slog.New(slog.NewTextHandler(&out, nil))
		shut(t, openConfig(t, config))
		if !strings.Contains(out.String(), "there is one copy of everything") {
			t.Errorf("the log is\n%s", out.String())
		}
	}
}

func TestTheKeyOfAClusterIsChecked(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	e := openAt(t, c.URL())
	fill(t, e)
	shut(t, e)
	wrong := at(t, c.URL())
	wrong.Key = otherKey
	if _, err := Open(t.Context(), wrong); !errors.Is(err, ErrWrongKey) {
		t.Errorf("Open = %v, want ErrWrongKey", err)
	}
	wantFilled(t, openAt(t, c.URL()))
}

// Without its check, data in a cluster is not taken for that of the key at hand.
func TestAClusterWithDataAndNoKeyCheckIsRefused(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	shut(t, openAt(t, c.URL()))
	js := jetStreamAt(t, c.URL())
	if err := js.DeleteStream(t.Context(), "KV_"+metaBucket); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), at(t, c.URL())); !errors.Is(err, ErrWrongKey) {
		t.Errorf("Open = %v, want ErrWrongKey", err)
	}
	if _, ok := streamsAt(t, c.URL())["KV_"+metaBucket]; ok {
		t.Error("the notes were made anew")
	}
}

func TestAStreamThatAClusterLostIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	shut(t, openAt(t, c.URL()))
	if err := jetStreamAt(t, c.URL()).DeleteStream(t.Context(), evidenceConfig.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), at(t, c.URL())); err == nil || !strings.Contains(err.Error(), "missing from the cluster") {
		t.Errorf("Open = %v", err)
	}
	if _, ok := streamsAt(t, c.URL())[evidenceConfig.Name]; ok {
		t.Error("the stream was made anew")
	}
}

func TestTheKeyOfAClusterIsChanged(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	e := openAt(t, c.URL())
	fill(t, e)
	shut(t, e)
	both := at(t, c.URL())
	both.Key, both.OldKey = otherKey, testKey
	var starting sync.WaitGroup // two replicas at once
	for range 2 {
		starting.Go(func() {
			e, err := Open(t.Context(), both)
			if err != nil {
				t.Error(err)
				return
			}
			defer e.Close()
			wantSealedUnder(t, e.Bucket(Tokens), otherKey)
		})
	}
	starting.Wait()
	if _, err := Open(t.Context(), at(t, c.URL())); !errors.Is(err, ErrWrongKey) {
		t.Errorf("with the old key: Open = %v, want ErrWrongKey", err)
	}
	after := at(t, c.URL())
	after.Key = otherKey
	e = openConfig(t, after)
	wantFilled(t, e)
	r, err := readRing(t.Context(), after, e.notes)
	if r.resealing || len(r.keys) != 2 || err != nil {
		t.Errorf("%d keys, resealing %v, %v", len(r.keys), r.resealing, err)
	}
}

// Of two that find nothing and make key.check, one does, and the other one takes
// what it made.
func TestOneReplicaMakesTheKeyCheck(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	config := at(t, c.URL())
	config.Log = slog.New(slog.DiscardHandler)
	var engines []*Engine
	var rings []ring
	for range 2 {
		e, err := dial(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		if err := e.openMeta(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, err := readRing(t.Context(), config, e.notes)
		if !r.isNew || err != nil {
			t.Fatalf("%+v, %v", r, err)
		}
		engines, rings = append(engines, e), append(rings, r)
	}
	late := engines[1].notes
	late.write = func(ctx context.Context, name string, text []byte) error {
		if _, err := rings[0].settle(ctx, config, engines[0].notes); err != nil {
			t.Error(err)
		}
		err := engines[1].notes.write(ctx, name, text)
		if !errors.Is(err, ErrConflict) {
			t.Errorf("the other one = %v, want ErrConflict", err)
		}
		return err
	}
	if r, err := settled(t.Context(), config, late); r.isNew || err != nil {
		t.Errorf("new %v, %v", r.isNew, err)
	}
	if err := engines[1].notes.setReady(t.Context(), []string{"one"}); err != nil {
		t.Error(err)
	}
	if err := engines[0].notes.setReady(t.Context(), []string{"two"}); !errors.Is(err, ErrConflict) {
		t.Errorf("what is ready = %v, want ErrConflict", err)
	}
}

// What was stored without an answer, and is stored again, is new all the same;
// what somebody else stored under that id is not.
func TestAnItemWhoseAnswerWasLostIsFresh(t *testing.T) {
	t.Parallel()
	e := openAt(t, clustertest.StartNodes(t, 1).URL())
	subject := itemSubject + "kaXRlbQ" // "item"
	item := func(data string) *nats.Msg {
		sealed := e.seal.seal(inboxConfig.Name, subject, []byte(data))
		return &nats.Msg{Subject: subject, Data: sealed, Header: nats.Header{jetstream.MsgIDHeader: {"kaXRlbQ"}}}
	}
	ours, theirs := item("the same"), item("the same")
	for i, step := range []struct {
		msg       *nats.Msg
		duplicate bool
	}{{ours, false}, {ours, false}, {theirs, true}} {
		ack, err := e.js.PublishMsg(t.Context(), step.msg)
		if err != nil || ack.Duplicate != (i > 0) {
			t.Fatalf("%+v, %v", ack, err)
		}
		if err := e.isOurs(t.Context(), step.msg, ack); ack.Duplicate != step.duplicate || err != nil {
			t.Errorf("%d: duplicate %v, %v", i, ack.Duplicate, err)
		}
	}
}

// Keys are those that the leader has, whoever is asked for the list: it comes from
// a server that may be behind.
func TestKeysAreTheNewest(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	e := openAt(t, c.URL())
	b := e.Bucket(Heard)
	if keys, err := b.Keys(t.Context()); len(keys) != 0 || err != nil {
		t.Errorf("an empty bucket has %q, %v", keys, err)
	}
	for i := range 60 {
		if _, err := b.Put(t.Context(), fmt.Sprint(i), nil); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if err := b.Delete(t.Context(), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		keys, err := b.Keys(t.Context())
		if len(keys) != i-i/3 || err != nil {
			t.Fatalf("after %d there are %d keys, %v", i+1, len(keys), err)
		}
	}
}

// A load is a replica that does a bit of everything and notes what it was told
// is stored.
type load struct {
	t      *testing.T
	e      *Engine
	name   string
	filed  []string
	count  int // of updates of a value, each after the one before
	chunks int
	steps  atomic.Int64
}

const stepSize = 20_000 // bytes into the journal at each step

// run goes on until stop is closed. Nothing may fail.
func (l *load) run(ctx context.Context, stop <-chan struct{}) {
	j, err := l.e.OpenJournal(ctx, "journal of "+l.name)
	if err != nil {
		l.t.Errorf("%s: %v", l.name, err)
		return
	}
	bucket := l.e.Bucket(Commands)
	revision, err := bucket.Create(ctx, l.name, []byte("0"))
	if err != nil {
		l.t.Errorf("%s: %v", l.name, err)
		return
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		id := fmt.Sprintf("%s %d", l.name, i)
		if fresh, err := l.e.File(ctx, id, []byte(id)); !fresh || err != nil {
			l.t.Errorf("filing %s: %v, %v", id, fresh, err)
			return
		}
		l.filed = append(l.filed, id)
		if revision, err = bucket.Update(ctx, l.name, fmt.Append(nil, i+1), revision); err != nil {
			l.t.Errorf("%s: %v", id, err)
			return
		}
		l.count = i + 1
		_, err := j.Write(bytes.Repeat([]byte{byte(i)}, stepSize))
		if err == nil {
			err = j.Checkpoint(ctx, fmt.Append(nil, i+1))
		}
		if err != nil {
			l.t.Errorf("%s: %v", id, err)
			return
		}
		l.chunks = i + 1
		l.steps.Add(1)
	}
}

// progress waits until each load has done n more steps.
func progress(t *testing.T, loads []*load, n int64) {
	t.Helper()
	deadline := time.Now().Add(2 * clusterPatience)
	for _, l := range loads {
		for goal := l.steps.Load() + n; l.steps.Load() < goal; time.Sleep(10 * time.Millisecond) {
			if t.Failed() || time.Now().After(deadline) {
				t.Fatalf("%s is stuck", l.name)
			}
		}
	}
}

// check fails the test unless all is there.
func (l *load) check(ctx context.Context, e *Engine) {
	l.t.Helper()
	if got, err := get(e.Bucket(Commands), ctx, l.name); string(got) != fmt.Sprint(l.count) || err != nil {
		l.t.Errorf("%s: the value is %q after %d updates, %v", l.name, got, l.count, err)
	}
	j, err := e.OpenJournal(ctx, "journal of "+l.name)
	if err != nil {
		l.t.Fatal(err)
	}
	if string(j.State()) != fmt.Sprint(l.chunks) || j.Size() != int64(l.chunks)*stepSize {
		l.t.Errorf("%s: the journal has %d bytes and %q after %d checkpoints", l.name, j.Size(), j.State(), l.chunks)
	}
	if got := readJournal(l.t, j); len(got) != l.chunks*stepSize {
		l.t.Errorf("%s: %d bytes of the journal can be read", l.name, len(got))
	}
}

// The server that leads the inbox is killed, with all that was asked of it on
// its way. With -long another one hangs then: it keeps its connections and
// answers nothing, which is noticed after 10 to 15 seconds.
func TestTheDeathOfAServerLosesNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	underLoad(t, c, func(progress func()) {
		i := leader(t, c, inboxConfig.Name)
		c.Kill(i)
		progress()
		c.Restart(i)
		if !*long {
			return
		}
		progress()
		i = leader(t, c, streamOf(bucketPrefix+Commands))
		c.Stop(i)
		progress()
		c.Continue(i)
		c.AwaitHealthy(i)
	})
}

// leader is the server that leads a stream.
func leader(t *testing.T, c *clustertest.Cluster, stream string) int {
	t.Helper()
	s, err := jetStreamAt(t, c.URL()).Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	var i int
	if _, err := fmt.Sscanf(s.CachedInfo().Cluster.Leader, "n%d", &i); err != nil {
		t.Fatal(err)
	}
	return i
}

var long = flag.Bool("long", false, "also test in a cluster what takes long: a server that hangs, and more of what is true of a folder")

// underLoad has two replicas at work while there is trouble with the servers, and
// checks that nothing has failed, and nothing is lost or done twice.
func underLoad(t *testing.T, c *clustertest.Cluster, trouble func(progress func())) {
	stop := make(chan struct{})
	var loads []*load
	var running sync.WaitGroup
	var handled sync.Map // by id: how often
	var done atomic.Int64
	working, finish := context.WithCancel(t.Context())
	defer finish()
	for i := range 2 {
		config := at(t, c.URL())
		config.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
		e := openConfig(t, config)
		l := &load{t: t, e: e, name: fmt.Sprint("load ", i)}
		loads = append(loads, l)
		running.Go(func() { l.run(t.Context(), stop) })
		go func() {
			err := e.Work(working, 4, func(_ context.Context, item Item) error {
				if _, again := handled.LoadOrStore(item.ID, true); !again {
					done.Add(1)
				}
				return nil
			})
			if err != nil {
				t.Errorf("Work: %v", err)
			}
		}()
	}
	progress(t, loads, 5)
	trouble(func() { progress(t, loads, 5) })
	close(stop)
	running.Wait()
	var filed int
	for _, l := range loads {
		filed += len(l.filed)
		l.check(t.Context(), openAt(t, c.URL()))
	}
	deadline := time.Now().Add(patient)
	for done.Load() < int64(filed) && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if int(done.Load()) != filed || filed < 10 {
		t.Errorf("%d of %d items were handled", done.Load(), filed)
	}
}

// A server that is left alone still answers, and does nothing.
func TestAnEngineIsNotHealthyWithoutAMajority(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t)
	openAt(t, c.URL()).Close()
	left := leader(t, c, inboxConfig.Name)
	e := openAt(t, c.NodeURL(left))
	if err := e.Healthy(t.Context()); err != nil {
		t.Errorf("with all servers: %v", err)
	}
	for i := range c.Nodes() {
		if i != left {
			c.Kill(i)
		}
	}
	killed := time.Now()
	for range time.Tick(100 * time.Millisecond) { // it gives up being the leader after 10 to 15 s
		if e.Healthy(t.Context()) != nil {
			return
		}
		if time.Since(killed) > time.Minute {
			t.Fatal("the engine is healthy without a majority")
		}
	}
}

// Without a majority nothing can be stored. Whoever waits goes on afterwards.
func TestAnOutageOfTheClusterIsWaitedOut(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	e := openAt(t, c.URL())
	got := make(chan string, 1)
	go func() {
		err := e.Work(t.Context(), 1, func(_ context.Context, item Item) error { got <- item.ID; return nil })
		if err != nil {
			t.Errorf("Work: %v", err)
		}
	}()
	for i := range c.Nodes() {
		c.Kill(i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := e.Healthy(ctx); err == nil {
		t.Error("the engine is healthy without a cluster")
	}
	filed := make(chan error, 1)
	go func() {
		fresh, err := e.File(t.Context(), "item", nil)
		if err == nil && !fresh {
			err = errors.New("it is taken for an old one")
		}
		filed <- err
	}()
	for i := range c.Nodes() {
		c.Launch(i)
	}
	if err := <-filed; err != nil {
		t.Error(err)
	}
	select {
	case id := <-got:
		if id != "item" {
			t.Errorf("got %q", id)
		}
	case <-time.After(patient):
		t.Error("no item came")
	}
}

// A replica that starts takes nothing away from those that work.
func TestAReplicaThatStartsTakesNothingAway(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	config := at(t, c.URL())
	config.AckWait = 0
	e := openConfig(t, config)
	file(t, e, "item")
	began, finish := make(chan bool), make(chan bool)
	working, stop := context.WithCancel(t.Context())
	defer stop()
	do := func(context.Context, Item) error {
		began <- true
		<-finish
		return nil
	}
	go e.Work(working, 1, do)
	<-began
	config.Dir = t.TempDir()
	other := openConfig(t, config)
	go other.Work(working, 1, do)
	select {
	case <-began:
		t.Error("two work on one item")
	case <-time.After(300 * time.Millisecond): // it would come at once
	}
	close(finish)
}

// A replica that was running when the key was changed cannot read what others
// write.
func TestAReplicaWithTheOldKeyEnds(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	e := openAt(t, c.URL())
	if err := e.stay(t.Context()); err != nil {
		t.Error(err)
	}
	both := at(t, c.URL())
	both.Key, both.OldKey = otherKey, testKey
	openConfig(t, both)
	if err := e.stay(t.Context()); !errors.Is(err, ErrWrongKey) {
		t.Errorf("staying = %v, want ErrWrongKey", err)
	}
}

// Until it ends, it may be handed what it cannot read, which others can.
func TestAReplicaWithTheOldKeyLosesNoItem(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	var out lockedBuffer
	config := at(t, c.URL())
	config.Log = slog.New(slog.NewTextHandler(&out, nil))
	old := openConfig(t, config)
	both := at(t, c.URL())
	both.Key, both.OldKey = otherKey, testKey
	e := openConfig(t, both)
	working, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- old.Work(working, 1, func(context.Context, Item) error { return nil }) }()
	if _, err := e.File(t.Context(), "new", []byte("sealed under the new key")); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if strings.Contains(out.String(), "cannot be read") {
			break
		}
		time.Sleep(10 * time.Millisecond) // nothing else tells of it
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	got := ""
	if err := e.Work(ctx, 1, func(_ context.Context, item Item) error { got = string(item.Data); cancel(); return nil }); err != nil {
		t.Error(err)
	}
	if got != "sealed under the new key" || !strings.Contains(out.String(), "cannot be read") {
		t.Errorf("the item has %q; the log of the old one is\n%s", got, out.String())
	}
}

func TestAnInspectionTellsWhichServersAreAway(t *testing.T) {
	t.Parallel()
	var i Inspection
	stream := func(n int, peers ...*jetstream.PeerInfo) {
		i.look(&jetstream.StreamInfo{Config: jetstream.StreamConfig{Replicas: n}, Cluster: &jetstream.ClusterInfo{Leader: "n0", Replicas: peers}})
	}
	stream(3, &jetstream.PeerInfo{Name: "n1", Current: true}, &jetstream.PeerInfo{Name: "n2", Current: true})
	if i.Copies != 3 || i.Behind != nil {
		t.Errorf("%+v", i)
	}
	stream(3, &jetstream.PeerInfo{Name: "n1", Current: true, Offline: true}, &jetstream.PeerInfo{Name: "n2"})
	stream(1, &jetstream.PeerInfo{Name: "n1", Current: true, Offline: true})
	if i.Copies != 1 || len(i.Behind) != 2 || i.Behind[0] != "n1" || i.Behind[1] != "n2" {
		t.Errorf("%+v", i)
	}
}

func inspectCluster(t *testing.T, e *Engine) {
	i, err := e.Inspect(t.Context())
	if i.Cluster != "test" || i.Copies != replicas || i.Missing != nil || i.Parts != 3+len(bucketConfigs) || err != nil {
		t.Errorf("%+v, %v", i, err)
	}
}

// inCluster are tests of a folder's engine that are true of a cluster's too, and
// inClusterLong others, for -long.
var (
	inCluster = map[string]func(*testing.T){
		"TestOneOfTwoWritersHasAConflict":          TestOneOfTwoWritersHasAConflict,
		"TestOnlyTheValueThatWasSeenIsDeleted":     TestOnlyTheValueThatWasSeenIsDeleted,
		"TestChunksThatNobodyGoesOnFromAreDeleted": TestChunksThatNobodyGoesOnFromAreDeleted,
		"TestAnErrorIsTriedAgain":                  TestAnErrorIsTriedAgain,
		"TestSweepDeletesWhatNoMarkLists":          TestSweepDeletesWhatNoMarkLists,
	}
	inClusterLong = map[string]func(*testing.T){
		"TestKeysAreAnyString":                                    TestKeysAreAnyString,
		"TestKeysOfACancelledCallAreAnError":                      TestKeysOfACancelledCallAreAnError,
		"TestDiscardedEvidenceIsGone":                             TestDiscardedEvidenceIsGone,
		"TestDeletedEvidenceIsGone":                               TestDeletedEvidenceIsGone,
		"TestAJournalIsReadWhileItIsWritten":                      TestAJournalIsReadWhileItIsWritten,
		"TestAnItemIsHandedOutOnce":                               TestAnItemIsHandedOutOnce,
		"TestIDsAndDataAreAnyBytes":                               TestIDsAndDataAreAnyBytes,
		"TestADoneItemIsNotRunAgainWhenItsAcknowledgementWasLost": TestADoneItemIsNotRunAgainWhenItsAcknowledgementWasLost,
		"TestSweepDeletesWhatIsOld":                               TestSweepDeletesWhatIsOld,
		"TestWhatIsReadIsKept":                                    TestWhatIsReadIsKept,
	}
)

// accountOf is where one of those tests runs, by name.
var accountOf = map[string]string{}

func TestInACluster(t *testing.T) {
	t.Parallel()
	tests := maps.Clone(inCluster)
	if *long {
		maps.Copy(tests, inClusterLong)
	}
	c := clustertest.StartAccounts(t, len(tests))
	for i, name := range slices.Sorted(maps.Keys(tests)) {
		accountOf[t.Name()+"/"+name] = c.AccountURL(i)
	}
	for name, test := range tests { // they run when this function has returned
		t.Run(name, test)
	}
}

// Whoever moves the data must not find nobody there while a replica is.
func TestAReplicaIsThereBetweenItsBeats(t *testing.T) {
	t.Parallel()
	for _, c := range bucketConfigs {
		if c.Bucket == bucketPrefix+Links && c.TTL < 3*beatEvery {
			t.Errorf("a key is kept for %v and written every %v", c.TTL, beatEvery)
		}
	}
}
