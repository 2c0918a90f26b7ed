package commands

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"auditbot/auditlog"
)

// filterHelp is shown with every filter that cannot be used.
const filterHelp = `write it as filter='Operation == "New-InboxRule" and ip startsWith "203."'` + "\n" +
	`there are and, or, not, ==, !=, <, <=, >, >=, in ["a", "b"], contains, startsWith, endsWith, matches "regular expression"; ` +
	`any(AffectedItems, .Subject contains "invoice"), and like it all, none, one, count, filter; len, lower, upper, trim, string` + "\n" +
	`names are those of AuditData (Operation, Item.Subject, Parameters.ForwardTo), and app, ip, result, session, text (anything in the record), time, user`

// What a filter may be made of, at most.
const (
	maxFilter   = 2000    // characters
	maxNodes    = 200     // names, values and operators
	maxPattern  = 200     // characters of one regular expression
	maxProgram  = 4000    // instructions of all its regular expressions together
	maxElements = 200_000 // of the lists that it makes for one record; 16 bytes each
)

// What a filter may take. Work is counted in steps that take at most
// longestStep each, on a slow machine too, and time in what a record took, but
// never more than its steps can take: on a machine that is busy with something
// else a harmless filter is not refused.
const (
	maxSteps      = 1_000_000              // for one record
	longestStep   = 200 * time.Nanosecond  // so that one record takes 0.2 s at most
	timeToSpare   = time.Second            // for all records together, and beyond that
	timePerRecord = 200 * time.Microsecond // on average
)

// A filter is a condition that a person wrote: an expression of
// github.com/expr-lang/expr over the fields of a record. It is not safe for
// use by several goroutines.
//
// Expr has no unbounded loops, but its ranges, variables and builtins can
// multiply, and it cannot be interrupted. So what multiplies is not let in
// (see [reading]), and everything that is let in counts its steps: every
// operator becomes a call of a function of ours. These functions are also
// defined for every value, since records differ:
//
//   - A field that a record does not have is nil, and equal to "". It is
//     neither less nor greater than anything, and contains nothing.
//   - A number and a text that is one are compared as numbers, true and "True"
//     as truths, and time with a text as times: time >= "2026-11-24 09:00".
//   - A list or an object is equal to, contains or matches what any value in
//     it does.
//   - Upper and lower case differ, except in app, ip, result, session and user.
//     app is equal to the id and to the name; text is an object of everything.
type filter struct {
	program  *vm.Program
	machine  vm.VM
	names    []string           // of the fields that it reads, as they are written
	patterns map[string]pattern // its regular expressions, by their text
	env      map[string]any     // the values of the fields in this record
	steps    int                // for this record
	records  int
	spent    time.Duration
}

// newFilter reads a filter. Every error is a [*Mistake]; where it can, it says
// at which character.
func newFilter(text string) (*filter, error) {
	if strings.TrimSpace(text) == "" {
		return nil, filterMistake("it is empty")
	}
	if n := utf8.RuneCountInString(text); n > maxFilter {
		return nil, filterMistake("it is %d characters long; the limit is %d", n, maxFilter)
	}
	f := &filter{env: map[string]any{}, machine: vm.VM{MemoryBudget: maxElements}}
	config := f.config()
	tree, err := parser.ParseWithConfig(plainQuotes(text), config)
	if err != nil {
		return nil, misread(err)
	}
	r := reading{seen: map[ast.Node]bool{}, patterns: map[string]pattern{}}
	tree.Node = r.read(tree.Node)
	if r.err != nil {
		return nil, r.err
	}
	f.names, f.patterns = r.names, r.patterns
	if _, err := checker.Check(tree, config); err != nil {
		return nil, misread(err)
	}
	config.Expect = reflect.Invalid // else the program ends with a conversion that fails on nil
	if f.program, err = compiler.Compile(tree, config); err != nil {
		return nil, filterMistake("it cannot be used")
	}
	return f, nil
}

// config has our functions in place of expr's operators and builtins.
func (f *filter) config() *conf.Config {
	config := conf.New(f.env)
	config.Strict = false // any name may be that of a field
	config.Optimize = false
	config.MaxNodes = maxNodes
	config.Expect, config.ExpectAny = reflect.Bool, true
	for name, function := range f.functions() {
		config.Functions[name] = &builtin.Function{
			Name: name, Types: []reflect.Type{reflect.TypeOf(function.like)},
			Func: func(args ...any) (any, error) { return function.call(args) },
		}
	}
	return config
}

// passes tells whether the filter is true of a record. Every error is a
// [*Mistake].
func (f *filter) passes(v auditlog.View) (bool, error) {
	yes, err := f.run(v)
	return yes, named(err, "filter")
}

func (f *filter) run(v auditlog.View) (bool, error) {
	began := time.Now()
	f.steps = 0
	value, err := f.evaluate(v)
	f.records++
	f.spent += min(time.Since(began), time.Duration(f.steps)*longestStep)
	if err != nil {
		return false, stopped(err)
	}
	if f.spent > timeToSpare+time.Duration(f.records)*timePerRecord {
		return false, tooMuchWork()
	}
	yes, ok := truthOf(value)
	if !ok {
		return false, noTruth(value)
	}
	return yes, nil
}

func (f *filter) evaluate(v auditlog.View) (any, error) {
	for _, name := range f.names {
		if root, _, ok := strings.Cut(name, "."); ok {
			value, _ := v.Get(root)
			if err := f.weigh(value); err != nil {
				return nil, err
			}
		}
		f.env[name] = fieldValue(v, name)
	}
	return f.machine.Run(f.program, f.env)
}

// work counts steps. It fails when there were too many for one record.
func (f *filter) work(steps int) error {
	f.steps += 1 + steps
	if f.steps > maxSteps {
		return tooMuchWork()
	}
	return nil
}

func tooMuchWork() *Mistake {
	return mistakef("it takes too long").
		hintf("compare single fields rather than whole lists, and write shorter regular expressions; start_date, operations and user_ids narrow the search before it is filtered")
}

// fieldValue is the value of a field for a filter.
func fieldValue(v auditlog.View, name string) any {
	value, ok := v.Get(name)
	if name == "text" && !ok {
		value, _ = v.Get("")
	}
	if value == nil {
		return nil
	}
	switch name {
	case "app":
		app := v.App()
		return []any{anyCase(app.String()), anyCase(app.ID), anyCase(app.Name)}
	case "ip", "result", "session", "user":
		return anyCase(value.(string))
	}
	return value
}

// fields are the fields that the filter reads; a name that no record has is
// probably misspelt.
func (f *filter) fields() []string {
	return slices.DeleteFunc(slices.Clone(f.names), func(name string) bool { return name == "text" })
}

// filterMistake is a mistake in a filter.
func filterMistake(format string, args ...any) *Mistake {
	return mistakef(format, args...).hintf("%s", filterHelp)
}

// misread is what expr says of a filter that it cannot read, in our words.
func misread(err error) *Mistake {
	var e *file.Error
	if !errors.As(err, &e) {
		return noTruth(nil) // of its kind expr has said no more than a Go type
	}
	at := e.From + 1
	switch {
	case strings.Contains(e.Message, "exceeds maximum allowed nodes"):
		return filterMistake("it is made of more than %d parts", maxNodes)
	case strings.HasPrefix(e.Message, "unexpected token EOF"), strings.HasPrefix(e.Message, "unexpected end"):
		return filterMistake("it ends too early, at character %d", at)
	case strings.Contains(e.Message, `Operator("=")`):
		return filterMistake(`a single "=" at character %d; to compare, write "=="`, at)
	case strings.HasPrefix(e.Message, "literal not terminated"):
		return filterMistake("a quote is not closed before the end, at character %d", at)
	case strings.HasPrefix(e.Message, "invalid char escape"), strings.HasPrefix(e.Message, "unable to unescape"):
		return backslash(at)
	}
	return filterMistake("%s, at character %d", plainWords(e.Message), at)
}

// backslash is the mistake of writing a backslash once: CONTOSO\bob has a
// backspace in it.
func backslash(at int) *Mistake {
	return mistakef("a backslash in a text begins an escape, at character %d", at).
		hintf(`write it twice, or the text in backquotes: UserId == "CONTOSO\\bob", ` + "UserId == `CONTOSO\\bob`")
}

// token is how expr's messages name a word of the filter: Operator("=").
var token = regexp.MustCompile(`(?:Identifier|Operator|Bracket|Number|String|Bytes)\(("(?:[^"\\]|\\.)*")\)`)

// plainWords rewords the commonest of expr's messages.
func plainWords(message string) string {
	switch {
	case strings.HasPrefix(message, "expected at least"):
		return `any and its like need a list and a condition: any(AffectedItems, .Subject contains "invoice")`
	case strings.Contains(message, "coalesce"):
		return "beside ?? another operator needs parentheses"
	}
	for _, c := range []struct{ before, after string }{
		{"unexpected token ", "unexpected "}, {"unrecognized character: ", "there is no use for "},
	} {
		if rest, ok := strings.CutPrefix(message, c.before); ok {
			message = c.after + rest
		}
	}
	message, _, _ = strings.Cut(message, ": strconv.")
	return Visible(Shorten(token.ReplaceAllString(message, "$1"), 200))
}

// stopped is why a filter ended without a result.
func stopped(err error) *Mistake {
	if m, ok := errors.AsType[*Mistake](err); ok {
		return m
	}
	var e *file.Error
	if errors.As(err, &e) && strings.Contains(e.Message, "memory budget") {
		return tooMuchWork()
	}
	return misread(err)
}

func noTruth(value any) *Mistake {
	return filterMistake("%s stands where true or false is needed", kindOf(value))
}

func kindOf(value any) string {
	switch value := value.(type) {
	case string:
		return fmt.Sprintf("the text %q", Shorten(value, 60))
	case anyCase:
		return kindOf(string(value))
	case json.Number, int, float64:
		return fmt.Sprintf("the number %v", value)
	case time.Time:
		return "a time"
	case nil:
		return "something else"
	}
	return "a list or an object"
}

// plainQuotes makes curly quotes straight, as keyboards write them unasked, if
// there are no straight ones. Every character keeps its place.
func plainQuotes(text string) string {
	if strings.ContainsAny(text, "\"'`") {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case isDouble(r):
			return '"'
		case isSingle(r):
			return '\''
		}
		return r
	}, text)
}

// A reading checks what a filter is made of and puts calls of our functions in
// the place of operators. Let in are names and members, literals, the operators
// of [filterHelp], and the functions named there. Not let in is what makes
// something longer than the record (ranges, variables, maps, arithmetic), and
// regular expressions that are not literals.
type reading struct {
	names    []string
	seen     map[ast.Node]bool
	patterns map[string]pattern
	program  int // instructions of all patterns
	err      error
}

// read is the node to compile in place of n.
func (r *reading) read(n ast.Node) ast.Node {
	if r.err != nil {
		return n
	}
	if r.seen[n] {
		// Expr reads a < b < c as a < b and b < c with one b in two places. Such
		// chains within chains would take twice the time for each.
		return r.refuse(n, "one comparison after another; join them with and")
	}
	r.seen[n] = true
	switch n := n.(type) {
	case *ast.NilNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
		return n
	case *ast.StringNode:
		return r.text(n)
	case *ast.PointerNode:
		return r.pointer(n)
	case *ast.IdentifierNode:
		return r.name(n)
	case *ast.MemberNode:
		return r.member(n)
	case *ast.ChainNode:
		return r.read(n.Node)
	case *ast.ArrayNode:
		for i := range n.Nodes {
			n.Nodes[i] = r.read(n.Nodes[i])
		}
		return n
	case *ast.UnaryNode:
		return r.unary(n)
	case *ast.BinaryNode:
		return r.binary(n)
	case *ast.ConditionalNode:
		n.Cond, n.Exp1, n.Exp2 = r.truth(n.Cond), r.read(n.Exp1), r.read(n.Exp2)
		return n
	case *ast.BuiltinNode:
		return r.loop(n)
	case *ast.CallNode:
		return r.call(n)
	}
	return r.refuse(n, "%s", notLetIn(n))
}

func notLetIn(n ast.Node) string {
	switch n.(type) {
	case *ast.VariableDeclaratorNode, *ast.SequenceNode:
		return "filters have no variables and are one condition"
	case *ast.MapNode:
		return `filters have no objects of their own, and a list is written ["a", "b"]`
	case *ast.SliceNode:
		return "filters have no parts of texts and lists; write startsWith, endsWith or matches"
	}
	return "this is not allowed in filters"
}

func (r *reading) refuse(n ast.Node, format string, args ...any) ast.Node {
	if r.err == nil {
		r.err = filterMistake("%s, at character %d", fmt.Sprintf(format, args...), n.Location().From+1)
	}
	return n
}

func (r *reading) text(n *ast.StringNode) ast.Node {
	if r.err == nil && strings.ContainsFunc(n.Value, unicode.IsControl) {
		r.err = backslash(n.Location().From + 1)
	}
	return n
}

func (r *reading) name(n *ast.IdentifierNode) ast.Node {
	if strings.HasPrefix(n.Value, "$") {
		return r.refuse(n, "there is no %s", n.Value)
	}
	return r.field(n, n.Value)
}

// field is the field at a path. It is read once for each record.
func (r *reading) field(n ast.Node, path string) ast.Node {
	if !slices.Contains(r.names, path) {
		r.names = append(r.names, path)
	}
	field := &ast.IdentifierNode{Value: path}
	field.SetLocation(n.Location())
	return field
}

func (r *reading) pointer(n *ast.PointerNode) ast.Node {
	if n.Name != "" {
		return r.refuse(n, "there is no #%s", n.Name)
	}
	return n
}

// member reads a path as one, since names of members may have periods in them.
func (r *reading) member(n *ast.MemberNode) ast.Node {
	var names []string
	var base ast.Node = n
	for {
		if chain, ok := base.(*ast.ChainNode); ok {
			base = chain.Node
		}
		m, ok := base.(*ast.MemberNode)
		if !ok {
			break
		}
		switch property := m.Property.(type) {
		case *ast.StringNode:
			names = append(names, property.Value)
		case *ast.IntegerNode:
			names = append(names, fmt.Sprint(property.Value))
		default:
			return r.refuse(n, "in brackets there must be a number or a text in quotes")
		}
		base = m.Node
	}
	slices.Reverse(names)
	path := strings.Join(names, ".")
	if root, ok := base.(*ast.IdentifierNode); ok && !strings.HasPrefix(root.Value, "$") {
		return r.field(n, root.Value+"."+path)
	}
	return called(n, ".at", r.read(base), &ast.StringNode{Value: path})
}

func (r *reading) unary(n *ast.UnaryNode) ast.Node {
	switch n.Operator {
	case "not", "!":
		return called(n, "not", r.read(n.Node))
	case "-", "+":
		switch n.Node.(type) {
		case *ast.IntegerNode, *ast.FloatNode:
			return n
		}
	}
	return r.refuse(n, "filters do not calculate (%s)", n.Operator)
}

func (r *reading) binary(n *ast.BinaryNode) ast.Node {
	switch n.Operator {
	case "and", "&&", "or", "||":
		n.Left, n.Right = r.truth(n.Left), r.truth(n.Right)
		return n
	case "??":
		n.Left, n.Right = r.read(n.Left), r.read(n.Right)
		return n
	case "!=":
		n.Operator = "=="
		return called(n, "not", r.binary(n))
	case "==", "<", "<=", ">", ">=":
		r.literal(n.Left, n.Right)
		r.literal(n.Right, n.Left)
	case "matches":
		r.checkPattern(n.Right)
	case "in":
		r.literal(n.Left, n.Right)
	case "contains", "startsWith", "endsWith":
	case "..":
		return r.refuse(n, "filters have no ranges (..)")
	default:
		return r.refuse(n, "filters do not calculate (%s)", n.Operator)
	}
	return called(n, n.Operator, r.read(n.Left), r.read(n.Right))
}

// literal checks what time and ip are compared with, since with what is no time
// or address that would be true of no record, and writes addresses as ip does.
func (r *reading) literal(left, right ast.Node) {
	if list, ok := right.(*ast.ArrayNode); ok {
		for _, element := range list.Nodes {
			r.literal(left, element)
		}
	}
	name, isName := left.(*ast.IdentifierNode)
	text, isText := right.(*ast.StringNode)
	if !isName || !isText {
		return
	}
	switch name.Value {
	case "time":
		if _, ok := timeOf(text.Value); !ok {
			r.refuse(text, `%q is not a time such as "2026-11-24" or "2026-11-24 09:30" (UTC)`, Shorten(text.Value, 60))
		}
	case "ip":
		if address, ok := auditlog.ParseAddress(text.Value); ok {
			text.Value = address.String()
		} else if strings.Contains(text.Value, "/") {
			r.refuse(text, `ip is compared with single addresses, not with ranges such as %q; write ip startsWith "203.0.113."`, Shorten(text.Value, 60))
		}
	}
}

func (r *reading) checkPattern(n ast.Node) {
	literal, ok := n.(*ast.StringNode)
	if !ok {
		r.refuse(n, "after matches there must be a regular expression in quotes")
		return
	}
	r.text(literal)
	p, problem := readPattern(literal.Value)
	if r.program += p.size; problem == "" && r.program > maxProgram {
		problem = "the regular expression is too large; write smaller numbers in braces"
	}
	if problem != "" {
		r.refuse(n, "%s", problem)
	}
	r.patterns[literal.Value] = p
}

// loop reads any(list, condition) and its like.
func (r *reading) loop(n *ast.BuiltinNode) ast.Node {
	if !slices.Contains([]string{"all", "any", "none", "one", "count", "filter"}, n.Name) {
		return r.refuse(n, "filters have no function %s; there are all, any, none, one, count, filter, len, lower, upper, trim, string", n.Name)
	}
	if len(n.Arguments) != 2 {
		return r.refuse(n, `%[1]s needs a condition: %[1]s(AffectedItems, .Subject contains "invoice")`, n.Name)
	}
	condition, ok := n.Arguments[1].(*ast.PredicateNode)
	if !ok {
		return r.refuse(n, "%s needs a condition", n.Name)
	}
	n.Arguments[0] = called(n, ".list", r.read(n.Arguments[0]))
	condition.Node = r.truth(condition.Node)
	return n
}

func (r *reading) call(n *ast.CallNode) ast.Node {
	name, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		return r.refuse(n, "values have no functions of their own")
	}
	if !slices.Contains([]string{"len", "lower", "upper", "trim", "string"}, name.Value) {
		return r.refuse(n, "filters have no function %s; there are all, any, none, one, count, filter, len, lower, upper, trim, string", Shorten(name.Value, 60))
	}
	if len(n.Arguments) != 1 {
		return r.refuse(n, "%[1]s takes one value: %[1]s(UserId)", name.Value)
	}
	return called(n, name.Value, r.read(n.Arguments[0]))
}

// truth reads a node that must be true or false.
func (r *reading) truth(n ast.Node) ast.Node {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.StringNode, *ast.ArrayNode:
		return r.refuse(n, "true or false is needed here")
	}
	return called(n, ".truth", r.read(n))
}

// called is a call of one of our functions in the place of n.
func called(n ast.Node, name string, args ...ast.Node) ast.Node {
	call := &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: args}
	call.SetLocation(n.Location())
	return call
}
