using System.Reflection;
using System.Text;

namespace PostCopy.Tests.HandOff.Model;

/// <summary>
/// Every world that can be reached under given rules, breadth first, so that the way to each is a shortest one. Nothing bounds the exploration:
/// processes die and are started again any number of times, because dying leaves no trace in a world but what was recorded.
/// </summary>
internal sealed class StateSpace
{
    private readonly Rules _rules;
    private readonly Promise? _lookFor;
    private readonly Dictionary<ulong, int> _indices = [];
    private readonly List<ulong> _worlds = [];
    private readonly List<int> _parents = [];
    private readonly List<int> _firstMove = [];
    private readonly List<(int To, Cause Cause)> _moves = [];

    private StateSpace(Rules rules, Promise? lookFor)
    {
        _rules = rules;
        _lookFor = lookFor;
    }

    internal int Count => _worlds.Count;

    internal int MoveCount => _moves.Count;

    /// <summary>The first promise found broken, with the shortest way there; null when all are kept.</summary>
    internal (Promise Promise, string Trace)? Broken { get; private set; }

    /// <summary>Explores until a promise is broken or nothing is left.</summary>
    /// <param name="rules">How the world moves.</param>
    /// <param name="only">Which steps count; null for all.</param>
    /// <param name="lookFor">The promise to watch; null for all that a single world can break.</param>
    internal static StateSpace Explore(Rules rules, Func<Cause, bool>? only = null, Promise? lookFor = null)
    {
        StateSpace space = new(rules, lookFor);
        space.Explore(only ?? (static _ => true));
        return space;
    }

    /// <summary>The worlds from which no world that satisfies <paramref name="goal"/> can be reached by such moves.</summary>
    internal IEnumerable<int> Without(Predicate<World> goal, Func<Cause, bool> only)
    {
        int[] incoming = new int[Count + 1];
        foreach ((int to, Cause cause) in _moves)
        {
            incoming[to + 1] += only(cause) ? 1 : 0;
        }

        for (int world = 0; world < Count; world++)
        {
            incoming[world + 1] += incoming[world];
        }

        int[] sources = new int[incoming[Count]];
        int[] next = incoming[..Count];
        for (int world = 0; world < Count; world++)
        {
            for (int move = _firstMove[world]; move < FirstMoveAfter(world); move++)
            {
                if (only(_moves[move].Cause))
                {
                    sources[next[_moves[move].To]++] = world;
                }
            }
        }

        bool[] reaches = new bool[Count];
        Stack<int> open = new();
        for (int world = 0; world < Count; world++)
        {
            if (goal(this[world]))
            {
                reaches[world] = true;
                open.Push(world);
            }
        }

        while (open.TryPop(out int world))
        {
            for (int i = incoming[world]; i < incoming[world + 1]; i++)
            {
                if (!reaches[sources[i]])
                {
                    reaches[sources[i]] = true;
                    open.Push(sources[i]);
                }
            }
        }

        return Enumerable.Range(0, Count).Where(world => !reaches[world]);
    }

    internal World this[int index] => World.Unpack(_worlds[index]);

    /// <summary>The steps from the beginning to a world, numbered, and what the world then is.</summary>
    internal string Trace(int index)
    {
        List<int> way = [];
        for (int world = index; world >= 0; world = _parents[world])
        {
            way.Add(world);
        }

        way.Reverse();
        StringBuilder text = new();
        Moves moves = new(_rules);
        for (int i = 1; i < way.Count; i++)
        {
            ulong to = _worlds[way[i]];
            text.AppendLine($"{i,4}. {moves.From(this[way[i - 1]]).First(move => move.World == to).Step}");
        }

        World last = this[index];
        text.AppendLine($"      source:      {Told(last.Source)}");
        text.AppendLine($"      destination: {Told(last.Destination)}");
        text.AppendLine($"      under way:   {last.Network}");
        return text.ToString();
    }

    internal static IEnumerable<(string Name, object? Value)> FieldsOf<T>(T host) where T : struct => typeof(T)
        .GetFields(BindingFlags.Instance | BindingFlags.NonPublic)
        .Select(field => (field.Name, field.GetValue(host)));

    private static string Told<T>(T host) where T : struct => string.Join(", ", FieldsOf(host).Select(static field => $"{field.Name} {field.Value ?? "none"}"));

    private int FirstMoveAfter(int world) => world + 1 < _firstMove.Count ? _firstMove[world + 1] : _moves.Count;

    private void Explore(Func<Cause, bool> only)
    {
        Moves moves = new(_rules);
        Find(World.Beginning.Pack(), parent: -1);
        for (int world = 0; world < _worlds.Count && Broken is null; world++)
        {
            _firstMove.Add(_moves.Count);
            ulong here = _worlds[world];
            foreach ((ulong next, Step step) in moves.From(this[world]))
            {
                if (next != here && only(step.Cause))
                {
                    _moves.Add((Find(next, world), step.Cause));
                }
            }
        }
    }

    private int Find(ulong world, int parent)
    {
        if (_indices.TryGetValue(world, out int index))
        {
            return index;
        }

        index = _worlds.Count;
        _indices.Add(world, index);
        _worlds.Add(world);
        _parents.Add(parent);
        if (Broken is null && Promises.BrokenIn(World.Unpack(world), _lookFor) is { } promise)
        {
            Broken = (promise, Trace(index));
        }

        return index;
    }
}
