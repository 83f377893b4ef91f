namespace PostCopy.Agent;

/// <summary>
/// What is read from files that may be replaced while the agent runs: certificates are short-lived and tokens are changed, sessions go on. By the files of now; those
/// that do not do, half replaced for example, are not taken: what was good before goes on.
/// </summary>
internal sealed class Renewed<T>
    where T : class
{
    private readonly Lock _lock = new();
    private readonly string[] _files;
    private readonly Func<T> _load;
    private readonly Action<T> _renewed;
    private readonly Action<string> _kept;
    private DateTime[] _changed;
    private T _current;

    /// <param name="load">Reads the files; throws <see cref="IOException"/> when they do not do, here as well.</param>
    /// <param name="renewed">Told when they were read again.</param>
    /// <param name="kept">Told why they were not taken.</param>
    /// <param name="files">Which they are.</param>
    internal Renewed(Func<T> load, Action<T> renewed, Action<string> kept, params string[] files)
    {
        (_files, _load, _renewed, _kept) = (files, load, renewed, kept);
        _changed = Changed();
        _current = load();
    }

    internal T Current
    {
        get
        {
            lock (_lock)
            {
                DateTime[] changed = Changed();
                if (!changed.SequenceEqual(_changed))
                {
                    _changed = changed;
                    try
                    {
                        _current = _load();
                        _renewed(_current);
                    }
                    catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                    {
                        _kept(e.Message);
                    }
                }

                return _current;
            }
        }
    }

    private DateTime[] Changed() => [.. _files.Select(File.GetLastWriteTimeUtc)];
}
