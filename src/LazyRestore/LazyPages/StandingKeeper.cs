using Microsoft.Extensions.Logging;
using PostCopy.Faults;
using PostCopy.Keeper;
using PostCopy.Userfault;

namespace PostCopy.LazyPages;

/// <summary>The process that holds the userfaultfds beside the daemon, and its successor should it die.</summary>
internal sealed class StandingKeeper : IUserfaultfdKeeper, IDisposable
{
    /// <summary>Between two attempts: one that cannot live must not be followed by another at once, again and again.</summary>
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(2);

    private readonly string _program;
    private readonly string _directory;
    private readonly ILogger _logger;
    private volatile KeeperProcess _process;
    private long _replacedAt = long.MinValue;

    internal StandingKeeper(string program, string directory, ILogger logger)
    {
        _program = program;
        _directory = directory;
        _logger = logger;
        _process = Start();
    }

    /// <inheritdoc/>
    public void Keep(int id, Userfaultfd uffd) => _process.Keep(id, uffd);

    /// <inheritdoc/>
    public void Drop(int id) => _process.Drop(id);

    /// <summary>Completes when the present one has ended, whoever ended it.</summary>
    internal Task EndedAsync() => _process.EndedAsync();

    /// <summary>Tasks run. Returns when a keeper that lives has every userfaultfd and knows of that, however long it takes to find one.</summary>
    internal async Task WatchAsync(LazyMemory memory)
    {
        while (true)
        {
            try
            {
                if (EndedAsync().IsCompleted)
                {
                    await ReplaceAsync(memory).ConfigureAwait(false);
                }

                _process.WatchAddressSpaces();
                return;
            }
            catch (IOException e)
            {
                LazyPagesLog.NoKeeper(_logger, e.Message);
                await Task.Delay(Pause).ConfigureAwait(false);
            }
        }
    }

    private async Task ReplaceAsync(LazyMemory memory)
    {
        if (_replacedAt > Environment.TickCount64 - (long)Pause.TotalMilliseconds)
        {
            await Task.Delay(Pause).ConfigureAwait(false);
        }

        _replacedAt = Environment.TickCount64;
        KeeperProcess successor = Start();
        // Not disposed of before the other one has everything: a fork that is being dealt with may still speak to it.
        using KeeperProcess dead = _process;
        _process = successor;
        // Before it has anything: should this process die in between, it must know that tasks run, and hold.
        successor.WatchAddressSpaces();
        LazyPagesLog.KeeperReplaced(_logger, memory.ReplaceKeeper(this));
    }

    private KeeperProcess Start()
    {
        KeeperProcess started = new(_program, _directory);
        try
        {
            started.SayNobodyFollows();
            return started;
        }
        catch
        {
            started.Dispose();
            throw;
        }
    }

    /// <summary>Nothing is owed any more, or nothing has run: it lets go and ends. One that is dead has nothing to let go.</summary>
    internal async Task ReleaseAsync()
    {
        try
        {
            await _process.ReleaseAsync().ConfigureAwait(false);
        }
        catch (Linux.LinuxException e) when (e.Errno is Linux.Errno.EPIPE or Linux.Errno.ECONNRESET)
        {
            LazyPagesLog.KeeperWasDead(_logger);
        }
    }

    /// <summary>Closes our end. Without <see cref="ReleaseAsync"/> the keeper goes on holding.</summary>
    public void Dispose() => _process.Dispose();
}
