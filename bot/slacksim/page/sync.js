// sync makes the children of an element be these items, in this order, each
// {key, version, make}. A child whose version has not changed stays the element
// that it is, with its selection, its open details and its page.
export function sync(box, items) {
	const old = new Map([...box.children].map(e => [known.get(e)?.key, e]));
	const children = items.map(({key, version, make}) => {
		const e = old.get(key);
		if (e && known.get(e).version === version) {
			return e;
		}
		const made = make();
		known.set(made, {key, version});
		return made;
	});
	const wanted = new Set(children);
	[...box.children].filter(e => !wanted.has(e)).forEach(e => e.remove());
	children.forEach((e, i) => {
		if (box.children[i] !== e) {
			box.insertBefore(e, box.children[i] ?? null);
		}
	});
}

const known = new WeakMap(); // element -> its key and version
