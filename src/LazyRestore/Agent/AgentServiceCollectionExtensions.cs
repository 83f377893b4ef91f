using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace PostCopy.Agent;

/// <summary>Adds the destination's agent to a host.</summary>
public static class AgentServiceCollectionExtensions
{
    /// <summary>
    /// Adds the agent as a hosted service. The host's shutdown waits for as long as a container here is owed pages: its memory would be lost otherwise.
    /// </summary>
    public static IServiceCollection AddPostCopyAgent(this IServiceCollection services, Action<AgentOptions> configure)
    {
        services.Configure(configure);
        services.Configure<HostOptions>(static options => options.ShutdownTimeout = Timeout.InfiniteTimeSpan);
        return services.AddHostedService<AgentService>();
    }
}
